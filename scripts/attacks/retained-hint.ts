/**
 * A hint that a broker had kept: with it, whoever once wrote to a device's topic would wake it at every connection, for
 * ever. A thief's broker sends one to a real agent; its twin is the same message, not kept, which the agent follows.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Process } from '../../platform/processes.ts';
import { DEVICE_PATHS } from '../../protocol/device-api.ts';
import { hintTopic } from '../../protocol/mqtt-topics.ts';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { type AttackOutcome, accepted, refused, type Verified } from './attack.ts';
import type { TlsIdentity } from './certificates.ts';
import { StolenBroker } from './stolen-broker.ts';
import type { StolenRepository } from './stolen-repository.ts';
import { StolenServer } from './stolen-server.ts';
import type { ClientCertificate } from './wire-clients.ts';

const PATIENCE_MS = 10_000;
/** A device that follows a hint polls at once; one that does not stays silent for its hour. */
const SILENCE_MS = 1500;

export interface RetainedHintLab {
  /** Made and removed. */
  readonly workDirectory: string;
  readonly rootFile: string;
  readonly anchorsFile: string;
  readonly identity: TlsIdentity;
  readonly repository: StolenRepository;
  readonly deviceId: string;
  readonly hardwareClass: string;
  readonly certificate: ClientCertificate;
}

interface Heard {
  polls: number;
  notices: string[];
}

function listenTo(heard: Heard): (path: string, body: unknown) => void {
  return (path, body) => {
    if (path === DEVICE_PATHS.poll) heard.polls += 1;
    const { reports = [] } = body as { reports?: { event: { kind: string; code?: string } }[] };
    for (const { event } of reports) if (event.kind === 'notice') heard.notices.push(event.code ?? '');
  };
}

/** A board without slots: an agent that only talks. */
async function makeAgent(lab: RetainedHintLab, url: string, mqttUrl: string): Promise<string> {
  const { workDirectory, certificate } = lab;
  const identity = join(workDirectory, 'data/identity');
  await mkdir(identity, { recursive: true, mode: 0o700 });
  await writeFile(join(identity, 'device.key'), certificate.keyPem, { mode: 0o600 });
  await writeFile(join(identity, 'device.crt'), certificate.chainPem, { mode: 0o600 });
  const config = join(workDirectory, 'agent.json');
  const settings = {
    format: 'holdfast-agent-1',
    vendor: 'acme.example',
    hardwareClass: lab.hardwareClass,
    channel: 'stable',
    environment: 'rehearsal',
    board: { kind: 'none' },
    clock: 'host',
    dataDirectory: 'data',
    factoryRoot: lab.rootFile,
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: { url, mqttUrl, anchorsFile: lab.anchorsFile },
    poll: { intervalMs: 3600_000 },
  };
  await writeFile(config, JSON.stringify(settings));
  return config;
}

async function until(holds: () => boolean, ms = PATIENCE_MS): Promise<boolean> {
  const untilMs = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > untilMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}

async function sendHints(broker: StolenBroker, heard: Heard, topic: string): Promise<AttackOutcome> {
  if (!(await until(() => broker.hasSubscriber && heard.polls > 0))) throw new Error('the agent did not connect');
  const follows = async (retain: boolean, ms: number): Promise<boolean> => {
    const before = heard.polls;
    broker.send(topic, retain);
    return until(() => heard.polls > before, ms);
  };
  const followedKept = await follows(true, SILENCE_MS);
  const followedFresh = await follows(false, PATIENCE_MS);
  await until(() => heard.notices.length > 0);
  const code = heard.notices.find((notice) => notice === 'hint-retained') ?? heard.notices[0] ?? '';
  const attack: Verified = followedKept
    ? accepted('the device polled')
    : refused(code, 'the device said so in its report');
  return { attack, twin: followedFresh ? accepted() : refused('', 'the device did not follow a fresh hint') };
}

export async function retainedHint(lab: RetainedHintLab): Promise<AttackOutcome> {
  const heard: Heard = { polls: 0, notices: [] };
  const server = await StolenServer.start(lab.repository, lab.identity, { onDevice: listenTo(heard) });
  const broker = await StolenBroker.start(lab.identity);
  const config = await makeAgent(lab, server.url, broker.url);
  const agent = new Process({
    name: 'an agent for the kept hint',
    file: join(PROJECT_DIRECTORY, 'bin/holdfast-agent'),
    args: ['run', '--config', config],
    logFile: join(lab.workDirectory, 'agent.log'),
  });
  try {
    return await sendHints(broker, heard, hintTopic(lab.deviceId));
  } finally {
    await agent.kill();
    await broker.stop();
    await server.stop();
    await rm(lab.workDirectory, { recursive: true, force: true });
  }
}
