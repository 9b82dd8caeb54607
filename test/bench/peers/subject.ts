/** What an installer that is compared can do. The same for ours and for others'. */
import type { Usage } from '../usage.ts';

export interface InstallSubject {
  readonly name: string;
  /** The slot holds the image afterwards. `false`: a program that only reads, as a measure for the others. */
  readonly writes: boolean;
  /** One whole installation, by programs that start with `env` added to the environment. Throws when it fails. */
  run(env: Readonly<Record<string, string>>): Promise<Usage>;
}

/** One that cannot run on this machine. */
export interface MissingSubject {
  readonly name: string;
  readonly why: string;
}

export const isMissing = (subject: InstallSubject | MissingSubject): subject is MissingSubject => 'why' in subject;
