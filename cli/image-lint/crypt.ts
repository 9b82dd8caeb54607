/**
 * Tests password hashes with this machine's own crypt(3), through Perl: on Debian that is libxcrypt, with yescrypt, bcrypt,
 * scrypt, sha512crypt, sha256crypt, md5crypt and descrypt. Hashes and passwords go through stdin.
 *
 * A hash names its own costs, and an image may be hostile: the program has a time and a memory limit.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { EXIT, Fault, systemErrorCode } from '../../platform/fault.ts';

/** Sixty passwords with usual costs take seconds. */
const LIMITS = { timeMs: 60_000, memoryKib: 512 * 1024 } as const;
type Limits = { readonly [Name in keyof typeof LIMITS]: number };

/** First line the hash, then a password in each line, all in hex. Says the number of the one that fits, `none` or `unknown`. */
const SCRIPT = `
my @lines = map { chomp; pack 'H*', $_ } <STDIN>;
my $hash = shift @lines;
for my $i (0 .. $#lines) {
  my $made = crypt($lines[$i], $hash);
  if (!defined $made || $made eq '' || $made =~ /^[*]/) { print "unknown"; exit }
  if ($made eq $hash) { print $i; exit }
}
print "none";
`;

export type Tested = { readonly kind: 'fits'; readonly password: string } | { readonly kind: 'none' | 'untested' };

/** Throws a Fault when Perl is not installed. */
export async function testHash(hash: string, passwords: readonly string[], limits: Limits = LIMITS): Promise<Tested> {
  const limited = `ulimit -c 0; ulimit -v ${limits.memoryKib}; exec perl -e "$1"`;
  const child = spawn('sh', ['-c', limited, 'sh', SCRIPT], {
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: limits.timeMs,
    killSignal: 'SIGKILL',
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end([hash, ...passwords].map((line) => `${Buffer.from(line, 'utf8').toString('hex')}\n`).join(''));
  let status: number | null;
  try {
    [status] = (await once(child, 'close')) as [number | null];
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw perlMissing();
    throw error;
  }
  if (status === 127) throw perlMissing();
  if (said === 'none') return { kind: 'none' };
  const password = /^\d+$/.test(said) ? passwords[Number(said)] : undefined;
  return password === undefined ? { kind: 'untested' } : { kind: 'fits', password };
}

function perlMissing(): Fault {
  return new Fault({
    code: 'program-missing',
    what: 'the program perl is not installed; password hashes are tested with its crypt(3)',
    cure: 'Install perl-base (Debian: apt-get install perl-base).',
    exitStatus: EXIT.environment,
  });
}
