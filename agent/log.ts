/**
 * The agent's log: one JSON line per event on stderr, for the journal. Small on purpose. Secrets are never handed to it:
 * callers give names, numbers and codes.
 */
import type { Log } from './core/ports.ts';

/** Lines are cut here, so that one hostile answer cannot fill a journal. */
const LINE_CAP_CHARACTERS = 2000;

export function jsonLineLog(write: (line: string) => void): Log {
  const line = (level: 'info' | 'warn', message: string, facts: Record<string, unknown> = {}): void => {
    const text = JSON.stringify({ time: new Date().toISOString(), level, message, ...facts });
    write(
      text.length <= LINE_CAP_CHARACTERS
        ? text
        : JSON.stringify({ level, message, cut: text.slice(0, LINE_CAP_CHARACTERS / 2) }),
    );
  };
  return {
    info: (message, facts) => line('info', message, facts),
    warn: (message, facts) => line('warn', message, facts),
  };
}

export const stderrLog: Log = jsonLineLog((line) => process.stderr.write(`${line}\n`));

/** For a person who watches: the words, and the facts behind them. */
export const textLog: Log = (() => {
  const line = (message: string, facts: Record<string, unknown> = {}): void =>
    void process.stderr.write(
      `${[message, ...Object.entries(facts).map(([name, value]) => `${name}=${value}`)].join(' ').slice(0, LINE_CAP_CHARACTERS)}\n`,
    );
  return { info: line, warn: line };
})();

export const silentLog: Log = { info: () => {}, warn: () => {} };
