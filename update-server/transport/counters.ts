/** What metrics tell of transport, since the start of this process. */
import type { TransportForm } from '../core/transport-plan.ts';

export type Served = 'whole' | 'packed' | 'recipe' | 'pieces';

export class TransportCounters {
  readonly made: Record<TransportForm['kind'], number> = { blocks: 0, pieces: 0, recipe: 0 };
  readonly failed: Record<TransportForm['kind'], number> = { blocks: 0, pieces: 0, recipe: 0 };
  /** Bytes read for devices, by what they were. `whole`: images as they are, with envelopes and block maps. */
  readonly servedBytes: Record<Served, number> = { whole: 0, packed: 0, recipe: 0, pieces: 0 };
}
