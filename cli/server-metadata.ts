/**
 * The current signed metadata of a server, checked by the same client workflow that devices run, starting at the root
 * that was met at login (or one that the person names). A server cannot show a build what it could not show a device.
 */
import type { BaseMetadata } from '../keys/base-metadata.ts';
import { faultOfRefusal } from '../keys/base-metadata.ts';
import { readInputFile } from '../platform/input-file.ts';
import { accept, refuse } from '../trust/refusal.ts';
import { refreshMetadata } from '../trust/tuf/client.ts';
import { METADATA_CAP_BYTES, type RoleName } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot } from '../trust/tuf/repository.ts';
import type { ApiClient } from './api-client.ts';
import type { MetProfile } from './profile.ts';

export interface ServerMetadataRequest {
  readonly api: Pick<ApiClient, 'metadata'>;
  readonly serverUrl: string;
  /** The first root to trust. */
  readonly anchor: Uint8Array;
  readonly nowUnixS: number;
}

export interface ServerMetadata extends BaseMetadata {
  /** Timestamp, snapshot, targets and the roots after the anchor, by name, as they came and verified. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** Faults carry trust/'s refusal codes: an expired timestamp, a broken root chain, a rollback. */
export async function fetchServerMetadata(request: ServerMetadataRequest): Promise<ServerMetadata> {
  const { api, serverUrl, anchor } = request;
  const where = `${serverUrl} (metadata)`;
  const cure = 'Look at the server: its online keys renew timestamp and snapshot; root and targets need people.';
  const first = verifyInitialRoot(anchor);
  if (!first.ok) throw faultOfRefusal(first, where, 'Log in again, or name a good root with --root.');
  const stored = new Map<RoleName, Uint8Array>([['root', anchor]]);
  const roots = [{ version: first.value.version, bytes: anchor }];
  const files = new Map<string, Uint8Array>();
  let targetsBytes: Uint8Array | undefined;
  const verdict = await refreshMetadata({
    store: {
      read: async (name) => stored.get(name),
      async write(name, bytes) {
        stored.set(name, bytes);
        if (name === 'root') roots.push({ version: roots.length + first.value.version, bytes });
        if (name === 'targets') targetsBytes = bytes;
      },
      async remove(name) {
        stored.delete(name);
      },
    },
    source: {
      async fetchMetadata(name, capBytes) {
        const bytes = await api.metadata(name);
        if (bytes !== undefined && bytes.length > capBytes)
          return refuse('input-too-large', `${name} has ${bytes.length} bytes`);
        if (bytes !== undefined) files.set(name, bytes);
        return accept(bytes);
      },
    },
    time: { floorUnixS: 0, synchronisedUnixS: request.nowUnixS },
    mode: { offline: false, environment: first.value.holdfast.environment, canonicalForm: 'required' },
  });
  if (!verdict.ok) throw faultOfRefusal(verdict, where, cure);
  if (targetsBytes === undefined || targetsBytes.length > METADATA_CAP_BYTES.targets) {
    throw faultOfRefusal(refuse('metadata-missing', 'the server has no targets metadata'), where, cure);
  }
  return { root: verdict.value.root, roots, targets: verdict.value.targets, targetsBytes, files };
}

/** The same of the profile's server, from the root met at login, or from the one in `rootFile`. */
export async function metadataOfServer(
  api: Pick<ApiClient, 'metadata'>,
  profile: MetProfile,
  rootFile: string | undefined,
): Promise<ServerMetadata> {
  const anchor =
    rootFile === undefined
      ? Buffer.from(profile.met.root, 'utf8')
      : await readInputFile(rootFile, METADATA_CAP_BYTES.root, 'a signed root');
  const nowUnixS = Math.floor(Date.now() / 1000);
  return fetchServerMetadata({ api, serverUrl: profile.serverUrl, anchor, nowUnixS });
}
