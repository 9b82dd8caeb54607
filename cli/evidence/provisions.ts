/**
 * What a fleet's credentials are evidence for, provision by provision. Evidence, never a verdict: whether a product
 * conforms is for its maker and those who judge it, and hangs on much that no server sees.
 *
 * Each row says in our words what the provision is about, and what of a device's own statement speaks for it. Sources:
 * ETSI EN 303 645 V2.1.1; The Product Security and Telecommunications Infrastructure (Security Requirements for Relevant
 * Connectable Products) Regulations 2023, schedule 1; EN 18031-1:2024; Regulation (EU) 2024/2847, annex I part I.
 */
import type { CredentialEntry } from '../../protocol/credentials.ts';
import type { DeviceCredentials } from '../../protocol/operator-api.ts';

export interface Provision {
  readonly standard: 'ETSI EN 303 645' | 'UK PSTI, schedule 1' | 'EN 18031-1' | 'CRA, annex I part I';
  readonly clause: string;
  readonly about: string;
  /** What is looked at. */
  readonly evidence: string;
  /** Does this device's statement speak for it? */
  readonly holds: (credentials: DeviceCredentials) => boolean;
}

const PASSWORDS = ['password', 'access-point-passphrase', 'mqtt-password', 'application-password'];
const KEYS = ['device-key', 'ssh-host-key', 'device-certificate'];

const all = (kinds: readonly string[], states: readonly CredentialEntry['state'][]) => (one: DeviceCredentials) => {
  const entries = one.inventory.filter(({ kind }) => kinds.includes(kind));
  return one.standing === 'proven' && entries.every(({ state }) => states.includes(state));
};
const madeHere = all(PASSWORDS, ['own', 'owner', 'locked', 'absent']);
const keysOwn = all(KEYS, ['own', 'absent']);
const nothingOfTheFactory = (one: DeviceCredentials): boolean =>
  one.standing === 'proven' && one.inventory.every(({ state }) => state !== 'factory' && state !== 'failed');
const sealed = (one: DeviceCredentials): boolean => one.escrow !== null && one.escrow.epoch === one.epoch;

const OWN_PASSWORDS = 'every password in the inventory is made on the device, the owner’s, or locked';
const RANDOM = 'the same; what the device makes has at least 128 random bits, and nothing of a serial number or a MAC';
const OWN_KEYS = 'device key and host keys are made on the device, and their fingerprints are unique in the fleet';

export const PROVISIONS: readonly Provision[] = [
  {
    standard: 'ETSI EN 303 645',
    clause: '5.1-1',
    about: 'outside the factory default state, passwords are unique per device or the user’s',
    evidence: OWN_PASSWORDS,
    holds: madeHere,
  },
  {
    standard: 'ETSI EN 303 645',
    clause: '5.1-2',
    about: 'unique passwords come from a mechanism that makes automated guessing pointless',
    evidence: RANDOM,
    holds: madeHere,
  },
  {
    standard: 'ETSI EN 303 645',
    clause: '5.4-1',
    about: 'sensitive security parameters are stored securely',
    evidence: 'what owners may need is sealed to their keys for the present epoch; the server cannot read it',
    holds: sealed,
  },
  {
    standard: 'ETSI EN 303 645',
    clause: '5.4-3',
    about: 'no hard-coded critical security parameters are in use',
    evidence: 'no credential in the inventory is the factory’s',
    holds: nothingOfTheFactory,
  },
  {
    standard: 'ETSI EN 303 645',
    clause: '5.4-4',
    about: 'parameters that protect updates and communication are unique per device',
    evidence: OWN_KEYS,
    holds: keysOwn,
  },
  {
    standard: 'UK PSTI, schedule 1',
    clause: '1(2)',
    about: 'passwords are unique per product or defined by the user',
    evidence: OWN_PASSWORDS,
    holds: madeHere,
  },
  {
    standard: 'UK PSTI, schedule 1',
    clause: '1(3)',
    about: 'unique passwords are no counters, and not derived from what is public or identifies the product',
    evidence: RANDOM,
    holds: madeHere,
  },
  {
    standard: 'EN 18031-1',
    clause: 'AUM-5',
    about: 'strength of factory default and other passwords',
    evidence: RANDOM,
    holds: madeHere,
  },
  {
    standard: 'EN 18031-1',
    clause: 'CCK-3',
    about: 'no static default values for preinstalled confidential keys',
    evidence: OWN_KEYS,
    holds: keysOwn,
  },
  {
    standard: 'CRA, annex I part I',
    clause: '(2)(b)',
    about: 'a secure configuration by default, and a way back to it',
    evidence: 'no credential in the inventory is the factory’s, in this epoch as after each reset',
    holds: nothingOfTheFactory,
  },
  {
    standard: 'CRA, annex I part I',
    clause: '(2)(d)',
    about: 'protection from unauthorised access',
    evidence: OWN_PASSWORDS,
    holds: madeHere,
  },
];
