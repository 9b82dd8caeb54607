/** Where a device keeps its decisions (history.ts), apart from their shape: a device writes lines and reads none. */

export const HISTORY_FILE = 'history';
export const OLDER_HISTORY_FILE = 'history.1';
/** Each of the two files. */
export const HISTORY_CAP_BYTES = 64 * 1024;
