import 'reflect-metadata';
import { createHash, verify, X509Certificate } from 'node:crypto';
import * as v from 'valibot';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nextFirstBoot } from '../../../../agent/core/first-boot-machine.ts';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { CredentialTalk, type TalkWorld, TOLD } from '../../../../agent/credentials/credential-talk.ts';
import { type Identity, identityPaths, readIdentity } from '../../../../agent/credentials/identity.ts';
import {
  FACTORY_RECORD,
  type FirstBootRecord,
  firstBootRecord,
} from '../../../../agent/first-boot/first-boot-record.ts';
import { writeInventory } from '../../../../agent/first-boot/inventory-file.ts';
import { writeDurably } from '../../../../platform/durable-file.ts';
import { type CredentialEntry, RotationStatement, statementMessage } from '../../../../protocol/credentials.ts';
import { FirstBootState } from '../../../../protocol/device-api.ts';
import { accept, refuse } from '../../../../trust/refusal.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';
import { authority, certifyRequest, deviceCertificate, type IssuedCertificate } from '../test-authority.ts';

const DIRECTORY = '/data/first-boot';
const BLOB = new TextEncoder().encode('sealed to two owners');
const NOTE = { sha256: createHash('sha256').update(BLOB).digest('hex'), owners: ['11'.repeat(32), '22'.repeat(32)] };
const HOST_KEY: CredentialEntry = {
  name: 'ssh-host-key:ed25519',
  kind: 'ssh-host-key',
  state: 'own',
  epoch: 1,
  fingerprint: 'ab'.repeat(32),
  madeUnixMs: null,
};
const OPEN: FirstBootRecord = { ...FACTORY_RECORD, state: 'open', epoch: 1, escrow: NOTE };

let ca: IssuedCertificate;
let first: IssuedCertificate;
beforeAll(async () => {
  ca = await authority();
  first = await deviceCertificate(ca, 'cam-0001');
});

interface Heard {
  readonly calls: string[];
  readonly statements: RotationStatement[];
  refuse: 'nothing' | 'escrow' | 'statement' | 'root' | 'network';
}
let disk: SimulatedDisk;
let heard: Heard;
let identity: Identity;
let said: Record<string, unknown>[];
beforeEach(async () => {
  disk = new SimulatedDisk();
  await disk.makeDirectory(DIRECTORY);
  await disk.makeDirectory('/data/identity');
  heard = { calls: [], statements: [], refuse: 'nothing' };
  said = [];
  identity = { deviceId: 'cam-0001', privateKeyPem: first.privateKeyPem, certificateChainPem: first.certificatePem };
});

/** The server's side of the four exchanges: it checks the signature with the certificate's key, as the real one does. */
const link: TalkWorld['link'] = {
  async nonce() {
    heard.calls.push('nonce');
    return accept({ nonce: `n${heard.calls.length}`, expiresUnixMs: 4e12 });
  },
  async escrow(epoch, note, blob) {
    heard.calls.push(`escrow ${epoch}`);
    expect([note, [...blob]]).toEqual([NOTE, [...BLOB]]);
    if (heard.refuse === 'escrow') return refuse('answer-malformed', 'no');
    return accept({ epoch, sha256: note.sha256 });
  },
  async statement(bytes, signature) {
    heard.calls.push('statement');
    if (heard.refuse === 'statement') return refuse('answer-malformed', 'no');
    const key = new X509Certificate(identity.certificateChainPem).publicKey;
    expect(verify('sha256', statementMessage(bytes), { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
    heard.statements.push(v.parse(RotationStatement, JSON.parse(new TextDecoder().decode(bytes))));
    return accept({ verdict: 'proven' as const, flags: [] });
  },
  async renew(request) {
    heard.calls.push('renew');
    return accept({ certificateChain: await certifyRequest(ca, request) });
  },
};

function talk(): CredentialTalk {
  return new CredentialTalk({
    disk,
    log: { info: (message, facts) => void said.push({ message, ...facts }), warn: () => {} },
    link,
    dataDirectory: '/data',
    identityPaths: identityPaths('/data'),
    identity: () => identity,
    becomes: (next) => {
      identity = next;
    },
    async refreshRoot() {
      heard.calls.push('root');
      if (heard.refuse === 'root') return refuse('root-chain-broken', 'no');
      if (heard.refuse === 'network') throw new SourceUnreachable('no route');
      return accept(undefined);
    },
    notice: (code, detail) => heard.calls.push(`notice ${code}: ${detail}`),
  });
}

async function stands(record: FirstBootRecord): Promise<void> {
  await firstBootRecord(disk, DIRECTORY).write(record);
  await writeInventory(disk, DIRECTORY, [HOST_KEY]);
  await writeDurably(disk, `${DIRECTORY}/escrow-${record.epoch}`, BLOB);
}

describe('what the agent says of its credentials', () => {
  it('gives the sealed blob first, then a statement signed by its certificate, and says both once', async () => {
    await stands(OPEN);
    const first = talk();
    expect(await first.follow([], 'a')).toEqual(accept(undefined));
    expect(heard.calls).toEqual(['escrow 1', 'nonce', 'statement']);
    const [statement] = heard.statements;
    expect(statement).toMatchObject({ deviceId: 'cam-0001', epoch: 1, state: 'enrolled', nonce: 'n2', escrow: NOTE });
    expect(statement?.credentials.map(({ name }) => name)).toEqual(['device-key', 'ssh-host-key:ed25519']);
    expect(await first.standing()).toEqual({ state: 'reported', epoch: 1 });
    await talk().follow([], 'a');
    expect(heard.calls.length).toBe(3);
    await talk().follow(['report-credentials'], 'a');
    expect(heard.calls.length).toBe(6);
  });

  it('logs each step that it notes as the first boot logs its own, and no secret', async () => {
    await stands(OPEN);
    await talk().follow([], 'a');
    const steps = said.filter(({ message }) => message === 'first boot');
    expect(steps).toEqual([
      { message: 'first boot', event: 'enrolled', state: 'enrolled', epoch: 1 },
      { message: 'first boot', event: 'reported', state: 'reported', epoch: 1 },
    ]);
  });

  it('tries again at the next poll what the server did not take', async () => {
    await stands(OPEN);
    for (const refused of ['escrow', 'statement'] as const) {
      heard.refuse = refused;
      expect(await talk().follow([], 'a')).toMatchObject({ ok: false });
      expect(await talk().standing()).toEqual({ state: 'enrolled', epoch: 1 });
    }
    heard.refuse = 'nothing';
    await talk().follow([], 'a');
    expect(await talk().standing()).toEqual({ state: 'reported', epoch: 1 });
  });

  it('says nothing of a device that is not open, and null where there is no first boot', async () => {
    expect(await talk().standing()).toBeNull();
    await talk().follow([], 'a');
    await stands({ ...OPEN, state: 'blocked', resume: 'applied' });
    await talk().follow([], 'a');
    expect(heard.calls).toEqual([]);
    expect(await talk().standing()).toEqual({ state: 'blocked', epoch: 1 });
  });

  it('asks the next boot for new secrets, once, and then owes a reboot', async () => {
    await stands({ ...OPEN, state: 'reported' });
    const one = talk();
    expect(one.rotationAsked).toBe(false);
    await one.standing();
    await one.follow(['rotate-credentials'], 'a');
    expect(one.rotationAsked).toBe(true);
    expect(await one.stageRotation()).toBe(true);
    expect(new TextDecoder().decode(await disk.readFile(`${DIRECTORY}/request`, 64))).toBe('rotate\n');
    await disk.remove(`${DIRECTORY}/request`);
    expect(await one.stageRotation()).toBe(true);
    expect(await disk.readFile(`${DIRECTORY}/request`, 64)).toBeUndefined();
  });

  it('waits with new secrets, and says why, until it has the newest root, and no longer than they are wanted', async () => {
    await stands({ ...OPEN, state: 'reported' });
    const one = talk();
    await one.standing();
    await one.follow(['rotate-credentials'], 'a');
    for (const refused of ['root', 'network'] as const) {
      heard.refuse = refused;
      expect(await one.stageRotation()).toBe(false);
      expect(await disk.readFile(`${DIRECTORY}/request`, 64)).toBeUndefined();
    }
    expect(heard.calls).toEqual([
      'root',
      'notice rotation-waits-for-root: root-chain-broken: no',
      'root',
      'notice rotation-waits-for-root: no route',
    ]);
    await one.standing();
    await one.follow([], 'a');
    expect(one.rotationAsked).toBe(false);
    heard.refuse = 'nothing';
    expect(await one.stageRotation()).toBe(true);
    expect(one.rotationAsked).toBe(true);
  });

  it('reads its record once for a poll after which the server owes and is owed nothing', async () => {
    await stands({ ...OPEN, state: 'reported' });
    const one = talk();
    let reads = 0;
    const { readFile } = disk;
    disk.readFile = (path, capBytes) => {
      if (path.startsWith(`${DIRECTORY}/record`)) reads += 1;
      return readFile.call(disk, path, capBytes);
    };
    await one.standing();
    const once = reads;
    await one.follow([], 'a');
    expect([once > 0, reads]).toEqual([true, once]);
  });

  it('renews its certificate also without a first boot, for the key that it has', async () => {
    const paths = identityPaths('/data');
    await writeDurably(disk, paths.key, new TextEncoder().encode(first.privateKeyPem));
    await talk().follow(['renew-certificate'], 'a');
    expect(identity.privateKeyPem).toBe(first.privateKeyPem);
    expect(identity.certificateChainPem).not.toBe(first.certificatePem);
    expect(await readIdentity(disk, paths)).toEqual(identity);
  });

  it('moves the state as the machine says, and nowhere else', () => {
    for (const event of ['enrolled', 'reported'] as const) {
      const moves = FirstBootState.options.filter((state) => {
        const next = nextFirstBoot(state, event);
        return !('illegal' in next) && next.state !== state;
      });
      expect(moves).toEqual([TOLD[event]]);
      expect(nextFirstBoot(TOLD[event], event)).toEqual({ state: event, effects: [] });
    }
  });
});
