/**
 * Which of the well-known passwords a hash of the image's stands for: what `verifyOldRefused` must then try. perl asks the
 * system's crypt(3), which knows every form that the image can have (yescrypt, bcrypt, MD5, DES) and is many times faster;
 * on a device without perl, the forms of sha-crypt.ts are computed here.
 */
import { askProgram } from '../boards/board-program.ts';
import { matchesShaCrypt } from './sha-crypt.ts';

const DEADLINE_MS = 120_000;
/** Hash and candidates come on standard input, a line each; the numbers of those that match go out. */
const PERL = `chomp(my $hash = <STDIN>); my $n = 0;
while (my $word = <STDIN>) { chomp $word; my $made = crypt($word, $hash); print "$n\\n" if defined $made && $made eq $hash; $n++; }`;

/** Those that give the hash; all of them when this machine cannot tell. An empty field is the empty password. */
export async function guessPasswords(
  hash: string,
  candidates: readonly string[],
  ask: typeof askProgram = askProgram,
): Promise<readonly string[]> {
  if (hash === '') return candidates.filter((password) => password === '');
  const input = `${[hash, ...candidates].join('\n')}\n`;
  const end = await ask('perl', ['-e', PERL], { input, deadlineMs: DEADLINE_MS });
  if (end?.status === 0) {
    const matching = new Set(end.stdout.split('\n'));
    return candidates.filter((_, at) => matching.has(String(at)));
  }
  if (matchesShaCrypt('', hash) === undefined) return candidates;
  return candidates.filter((password) => matchesShaCrypt(password, hash));
}
