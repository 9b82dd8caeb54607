/** Counts what was tried, and keeps why something failed; the shape that every suite of the project reports. */

export interface Suite {
  readonly name: string;
  readonly cases: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What failed or was skipped, and what was measured. */
  readonly why: string;
}

export class Cases {
  readonly #name: string;
  readonly #say: (line: string) => void;
  readonly #failures: string[] = [];
  readonly #notes: string[] = [];
  #passed = 0;

  constructor(name: string, say: (line: string) => void) {
    this.#name = name;
    this.#say = say;
  }

  /** One case: it passes without findings. */
  check(what: string, findings: readonly string[]): void {
    if (findings.length === 0) this.#passed += 1;
    else this.#failures.push(`${what}: ${findings.slice(0, 12).join(' | ')}`);
    this.#say(`${findings.length === 0 ? 'ok  ' : 'FAIL'} ${this.#name}: ${what}`);
  }

  /** The text holds each of the parts. */
  holds(what: string, text: string, ...parts: readonly string[]): void {
    const missing = parts.filter((part) => !text.includes(part));
    this.check(what, missing.length === 0 ? [] : [`lacks ${missing.join(', ')}`, text.trim().slice(-600)]);
  }

  note(line: string): void {
    this.#notes.push(line);
  }

  suite(skipped = 0): Suite {
    const failed = this.#failures.length;
    const why = [...this.#failures, ...this.#notes].join('\n       ');
    return { name: this.#name, cases: this.#passed + failed + skipped, passed: this.#passed, failed, skipped, why };
  }
}
