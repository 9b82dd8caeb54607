/**
 * What the wire attacks are given: the real server's addresses, an operator's hands, and an attacker that is a device like
 * any other: enrolled, with a certificate of its own. What it may not do, no stranger may.
 */
import type { ClaimFile } from '../../protocol/enrolment.ts';
import type { DeviceVerifier } from './device-verifier.ts';
import type { RetainedHintLab } from './retained-hint.ts';
import type { StolenRepository } from './stolen-repository.ts';
import type { ClientCertificate } from './wire-clients.ts';

/** The two things that only an operator can do or see, through the published command. */
export interface OperatorHands {
  claim(deviceId: string): Promise<ClaimFile>;
  revoke(deviceId: string): Promise<void>;
  /** Codes of the refusals that the broker wrote down for this device, newest first. */
  brokerRefusals(deviceId: string): Promise<readonly string[]>;
}

export interface WireLab {
  readonly deviceUrl: string;
  readonly mqttUrl: string;
  /** PEM of the server's authority. */
  readonly ca: string;
  readonly serverDataDirectory: string;
  readonly operator: OperatorHands;
  readonly attacker: { readonly deviceId: string; readonly certificate: ClientCertificate };
  /** Any other device of the fleet. */
  readonly victimId: string;
  readonly verifier: DeviceVerifier;
  readonly repository: StolenRepository;
  /** A release in that repository that the verifier's device accepts. */
  readonly releasePath: string;
  readonly keptHint: RetainedHintLab;
}
