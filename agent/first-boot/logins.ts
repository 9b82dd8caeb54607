/**
 * Which logins must be refused before a device opens, and the question whether they are, put to a private sshd.
 *
 * May not: pass in silence where there is no sshd to ask. The comparison of hashes that came before then stands alone, and
 * the answer says so.
 */
import { FACTORY_PAIRS } from '../../protocol/factory-pairs.ts';
import type { Check } from '../core/first-boot-ports.ts';
import { type Account, isLocked } from './account-files.ts';
import { guessPasswords } from './guess-password.ts';
import { type LoginTry, PrivateSshd } from './private-sshd.ts';
import type { ProviderWorld } from './world.ts';

/** The pairs that are tried against these accounts, and what of the list the image's own hash stands for. */
export async function formerLogins(
  accounts: readonly Account[],
  imageShadow: ReadonlyMap<string, string>,
): Promise<LoginTry[]> {
  const passwords = [...new Set(FACTORY_PAIRS.map(({ password }) => password))];
  const tries: LoginTry[] = [];
  for (const { name } of accounts) {
    const listed = FACTORY_PAIRS.filter(({ user }) => user === name).map(({ password }) => password);
    const hash = imageShadow.get(name);
    const guessed = hash === undefined || isLocked(hash) ? [] : await guessPasswords(hash, passwords);
    tries.push(...[...new Set([...listed, ...guessed])].map((password) => ({ user: name, password })));
  }
  return tries;
}

/** `judge` sees what was accepted, and answers undefined when that is as it should be. */
export async function askLogins(
  world: Pick<ProviderWorld, 'files' | 'scratchDirectory'>,
  tries: readonly LoginTry[],
  judge: (accepted: readonly LoginTry[]) => Check | undefined,
): Promise<Check> {
  if (world.files.root !== '/') return { ok: true, detail: 'sshd was not asked: this device is a folder' };
  const sshd = await PrivateSshd.open(world.scratchDirectory);
  if ('missing' in sshd) return { ok: true, detail: sshd.missing };
  try {
    const { accepted, unclear } = await sshd.tryPasswords(tries);
    if (unclear === undefined) {
      return judge(accepted) ?? (sshd.detail === undefined ? { ok: true } : { ok: true, detail: sshd.detail });
    }
    const detail = `a private sshd neither accepts nor refuses: ${unclear}`.slice(0, 400);
    return { ok: false, code: 'sshd-unclear', detail };
  } finally {
    await sshd.close();
  }
}
