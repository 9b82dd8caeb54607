/**
 * The credentials of this device and whose keys they are sealed to, from agent.json. Nothing is made here; where nothing
 * is wired, the first boot stays closed (`providers-missing`, `escrow-missing`).
 */
import type { AgentConfig } from '../config.ts';
import type { CredentialProvider, Escrow } from '../core/first-boot-ports.ts';
import type { FirstBootConfig } from './first-boot-config.ts';

export interface Wired {
  readonly providers: readonly CredentialProvider[];
  readonly escrow: Escrow | undefined;
}

export async function wire(_config: AgentConfig, _firstBoot: FirstBootConfig): Promise<Wired> {
  return { providers: [], escrow: undefined };
}
