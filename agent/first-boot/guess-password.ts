/**
 * Which of the well-known passwords a hash of the image's stands for: what `verifyOldRefused` must then try. The forms of
 * sha-crypt.ts are computed here; for every other (yescrypt, bcrypt, MD5, DES) perl asks the system's crypt(3).
 */
import { askProgram } from '../boards/board-program.ts';
import { matchesShaCrypt } from './sha-crypt.ts';

const DEADLINE_MS = 120_000;
/** Hash and candidates come on standard input, a line each; the numbers of those that match go out. */
const PERL = `chomp(my $hash = <STDIN>); my $n = 0;
while (my $word = <STDIN>) { chomp $word; my $made = crypt($word, $hash); print "$n\\n" if defined $made && $made eq $hash; $n++; }`;

/** Those that give the hash; all of them when this machine cannot tell. An empty field is the empty password. */
export async function guessPasswords(hash: string, candidates: readonly string[]): Promise<readonly string[]> {
  if (hash === '') return candidates.filter((password) => password === '');
  if (matchesShaCrypt('', hash) !== undefined) return candidates.filter((password) => matchesShaCrypt(password, hash));
  const input = `${[hash, ...candidates].join('\n')}\n`;
  const end = await askProgram('perl', ['-e', PERL], { input, deadlineMs: DEADLINE_MS });
  if (end?.status !== 0) return candidates;
  const matching = new Set(end.stdout.split('\n'));
  return candidates.filter((_, at) => matching.has(String(at)));
}
