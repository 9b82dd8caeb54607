/** A thief who has the server, with its online keys and its TLS key, an author's key, and the key of one of two people. */
import type { ReleaseContent } from '../../keys/release-content.ts';
import { stolenIdentity } from '../attacks/certificates.ts';
import { contentLike, offer, openCeremonyKeys } from '../attacks/crafted-release.ts';
import { StolenRepository } from '../attacks/stolen-repository.ts';
import { StolenServer } from '../attacks/stolen-server.ts';
import { HARDWARE_CLASS, type PublishedRelease, type World } from './world.ts';

export class StolenRelease {
  /** How often devices came. */
  heard = 0;
  readonly #world: World;
  readonly #repository: StolenRepository;
  readonly #content: ReleaseContent;
  #server: StolenServer | undefined;

  private constructor(world: World, repository: StolenRepository, content: ReleaseContent) {
    this.#world = world;
    this.#repository = repository;
    this.#content = content;
  }

  /** The images of `like` as a release with a higher sequence. The server must run, or have run. */
  static async make(world: World, like: PublishedRelease): Promise<StolenRelease> {
    const repository = await StolenRepository.steal({
      dataDirectory: world.path('server'),
      sealingKeyFile: world.path('ceremony/server/sealing.key'),
    });
    const keys = await openCeremonyKeys(world.path('ceremony'), world.path('passphrase'), [HARDWARE_CLASS]);
    const author = keys.authors.get(HARDWARE_CLASS);
    if (author === undefined) throw new Error(`no author for ${HARDWARE_CLASS}`);
    const sequence = like.sequence + 100;
    const content = contentLike(repository, like.path, { sequence, version: `${sequence}.0.0` });
    const crafted = { content, author, targetsKeys: [keys.targets[0]] };
    return new StolenRelease(world, await offer(repository, crafted), content);
  }

  /** In the server's place, which must be stopped. */
  async serve(): Promise<void> {
    const { releasePath, sequence, version } = this.#content;
    this.#server = await StolenServer.start(this.#repository, await stolenIdentity(this.#world.path('server')), {
      port: this.#world.devicePort,
      onDevice: () => {
        this.heard += 1;
      },
      action: {
        actionId: 'a9999',
        rolloutId: 'r9999',
        releasePath,
        sequence,
        version,
        deadlineUnixMs: Date.now() + 3600_000,
      },
    });
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }
}
