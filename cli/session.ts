/** A command's connection to the server of the profile, and what it says about the server's environment. */
import { EXIT, Fault } from '../platform/fault.ts';
import { METADATA_CAP_BYTES } from '../trust/tuf/metadata.ts';
import { verifyInitialRoot } from '../trust/tuf/repository.ts';
import { ApiClient } from './api-client.ts';
import type { Output } from './output.ts';
import { type MetProfile, type Profile, readProfile, writeProfile } from './profile.ts';

export interface Session {
  readonly api: ApiClient;
  readonly profile: MetProfile;
}

/** Asks the server for its environment and first root, and keeps both. Fault `metadata-missing` when it has no good root. */
export async function meetServer(api: Pick<ApiClient, 'whoami' | 'metadata'>, profile: Profile): Promise<MetProfile> {
  const { environment, name, role } = await api.whoami();
  const root = await api.metadata('1.root.json');
  if (root === undefined || root.length > METADATA_CAP_BYTES.root || !verifyInitialRoot(root).ok) {
    throw new Fault({
      code: 'metadata-missing',
      what: 'the server has no root metadata that verifies',
      where: profile.serverUrl,
      cure: 'Look at the log of the server; it was set up with --keys CEREMONY/server.',
      exitStatus: EXIT.remote,
    });
  }
  const met = { environment, root: Buffer.from(root).toString('utf8') };
  const complete = { ...profile, name, role, met };
  await writeProfile(complete);
  return complete;
}

/** Runs `work` with the profile's server. Says it when the server is a rehearsal's or a lab's. */
export async function withServer<T>(out: Output, work: (session: Session) => Promise<T>): Promise<T> {
  const profile = await readProfile();
  const api = new ApiClient(profile);
  try {
    const { met } = profile;
    const complete = met === null ? await meetServer(api, profile) : { ...profile, met };
    out.environment(complete.met.environment);
    return await work({ api, profile: complete });
  } finally {
    api.close();
  }
}
