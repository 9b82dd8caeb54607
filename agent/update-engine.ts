/** Skeleton: the types stand, the body follows. */
import type { Installed, InstallState } from '../protocol/device-api.ts';
import type { EnginePorts, EngineRest, EngineSettings, Offer, Slot } from './core/ports.ts';

/** Everything that a poll says of the device's updates. */
export interface EngineStatus {
  readonly state: InstallState;
  readonly stateSinceUnixMs: number | null;
  readonly bootedSlot: Slot | null;
  readonly installed: Installed;
  readonly floorSequence: number;
  readonly actionId: string | null;
  readonly quarantined: readonly { readonly sequence: number; readonly reason: string }[];
  /** While a release is being fetched, else null. */
  readonly progress: { readonly sequence: number; readonly doneBytes: number; readonly totalBytes: number } | null;
  /** Why the device is held, or empty. */
  readonly heldWhy: string;
}

export class UpdateEngine {
  static open(_ports: EnginePorts, _settings: EngineSettings): Promise<UpdateEngine> {
    throw new Error('not built yet');
  }

  status(): EngineStatus {
    throw new Error('not built yet');
  }

  /** Takes the server's answer to a poll; null calls off what is not armed yet. Durable once it returned. */
  offer(_offer: Offer): Promise<void> {
    throw new Error('not built yet');
  }

  /** Drives the install machine to its next rest. One call at a time. */
  run(): Promise<EngineRest> {
    throw new Error('not built yet');
  }
}
