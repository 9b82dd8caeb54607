/** A command's connection to the server of the profile, and what it says about the server's environment. */
import { ApiClient } from './api-client.ts';
import type { Output } from './output.ts';
import { type Profile, readProfile } from './profile.ts';

export interface Session {
  readonly api: ApiClient;
  readonly profile: Profile;
}

/** Runs `work` with the profile's server. Says it when the server is a rehearsal's or a lab's. */
export async function withServer<T>(out: Output, work: (session: Session) => Promise<T>): Promise<T> {
  const profile = await readProfile();
  const api = new ApiClient(profile);
  try {
    out.environment(profile.environment);
    return await work({ api, profile });
  } finally {
    api.close();
  }
}
