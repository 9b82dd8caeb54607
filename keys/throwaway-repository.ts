/**
 * A repository whose keys live and die with this process, for trying a release before anybody signs it: the same content
 * as the maker's, one person in every role. No key of it is ever written, but for the two that a server needs online,
 * and those seal nothing else.
 *
 * Its root says `rehearsal`: devices in production refuse everything that it signs.
 */
import type { Targets } from '../trust/tuf/metadata.ts';
import { ONLINE_KEYS_FILE, SEALING_KEY_FILE, sealOnlineKeys } from './ceremony.ts';
import { draftTargets, manifestOf, type ReleaseContent, signEnvelope } from './release-content.ts';
import { draftRoot, emptyTargets, TARGETS_LIFETIME_S } from './root-draft.ts';
import { ephemeralKey, generateRawKey, type SigningKey } from './signing-key.ts';
import { signMetadata } from './tuf-signing.ts';

export interface ThrowawayRelease {
  /** release.suit */
  readonly envelope: Uint8Array;
  /** The targets metadata that lists it, signed: what `publish` takes. */
  readonly targets: string;
}

export class ThrowawayRepository {
  /** The files of a ceremony's server folder, by name. */
  readonly serverFiles: Readonly<Record<string, Uint8Array>>;
  readonly root: Uint8Array;
  readonly #keys: { readonly author: SigningKey; readonly targets: SigningKey };
  readonly #nowUnixS: number;
  #targets: Targets;

  private constructor(
    root: Uint8Array,
    serverFiles: Readonly<Record<string, Uint8Array>>,
    keys: { readonly author: SigningKey; readonly targets: SigningKey },
    targets: Targets,
    nowUnixS: number,
  ) {
    this.root = root;
    this.serverFiles = serverFiles;
    this.#keys = keys;
    this.#targets = targets;
    this.#nowUnixS = nowUnixS;
  }

  static async make(nowUnixS: number): Promise<ThrowawayRepository> {
    const [rootKey, targetsKey, author] = [ephemeralKey('tuf'), ephemeralKey('tuf'), ephemeralKey('author')];
    const online = { snapshot: generateRawKey('ed25519'), timestamp: generateRawKey('ed25519') };
    try {
      const root = await signMetadata(
        draftRoot({
          environment: 'rehearsal',
          roleKeys: {
            root: [rootKey.publicKey],
            targets: [targetsKey.publicKey],
            snapshot: [online.snapshot.publicKey],
            timestamp: [online.timestamp.publicKey],
          },
          thresholds: { root: 1, targets: 1 },
          authors: [{ algorithm: author.algorithm, publicKey: author.publicKey, hardwareClasses: ['*'] }],
          nowUnixS,
        }),
        [rootKey],
      );
      const targets = emptyTargets(nowUnixS);
      const { sealed, sealingKey } = sealOnlineKeys(online);
      const serverFiles = {
        '1.root.json': root,
        '1.targets.json': await signMetadata(targets, [targetsKey]),
        [ONLINE_KEYS_FILE]: sealed,
        [SEALING_KEY_FILE]: sealingKey,
      };
      return new ThrowawayRepository(root, serverFiles, { author, targets: targetsKey }, targets, nowUnixS);
    } finally {
      online.snapshot.secret.fill(0);
      online.timestamp.secret.fill(0);
    }
  }

  /** Signs exactly this content, on top of what was signed before. */
  async sign(content: ReleaseContent): Promise<ThrowawayRelease> {
    const envelope = await signEnvelope(manifestOf(content), this.#keys.author);
    const expiresUnixS = this.#nowUnixS + TARGETS_LIFETIME_S;
    const targets = draftTargets({ current: this.#targets, content, envelope, expiresUnixS });
    const file = await signMetadata(targets, [this.#keys.targets]);
    this.#targets = targets;
    return { envelope, targets: Buffer.from(file).toString('utf8') };
  }
}
