/** How a device's history, which is kept as text, tells a state: written by the server, read by `holdfast replay`. */

const PREFIX = 'state ';

export function describeState(state: string): string {
  return `${PREFIX}${state}`;
}

/** The state's name, or undefined for any other text. */
export function reportedState(text: string): string | undefined {
  return text.startsWith(PREFIX) ? text.slice(PREFIX.length) : undefined;
}
