/** A lab server and one enrolled agent, from the shipped bundles by their launchers, in a temporary folder: something real to measure. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Process } from '../../platform/processes.ts';
import { needProgram } from '../../scripts/programs.ts';

export interface LabServer {
  readonly process: Process;
  readonly startMs: number;
  readonly deviceUrl: string;
  readonly operatorUrl: string;
  readonly mqttUrl: string;
  readonly serverCa: string;
  readonly oneTimeToken: string;
}

/** A device that has no slots and does no first boot can prove nothing. */
const WITHOUT_FIRST_BOOT = ['--credentials-gate', 'report'];

/** `startMs`: from the start of the process to its ready line, a first start with new keys and authorities. */
export async function startLabServer(
  projectRoot: string,
  directory: string,
  options: readonly string[] = WITHOUT_FIRST_BOOT,
): Promise<LabServer> {
  await mkdir(directory, { recursive: true });
  const startedMs = performance.now();
  const process = new Process({
    name: 'server',
    file: join(projectRoot, 'bin/holdfast-server'),
    args: ['run', '--lab', '--json', '--data', join(directory, 'data'), ...PORTS, ...options],
    logFile: join(directory, 'server.log'),
  });
  const ready = (await process.firstLine()) as Omit<LabServer, 'process' | 'startMs'>;
  const { deviceUrl, operatorUrl, mqttUrl, serverCa, oneTimeToken } = ready;
  return { process, startMs: performance.now() - startedMs, deviceUrl, operatorUrl, mqttUrl, serverCa, oneTimeToken };
}

const PORTS = ['--device-port', '0', '--operator-port', '0', '--mqtt-port', '0'];

/** Makes a claim, a device folder without slots, and starts its agent. */
export async function startAgent(projectRoot: string, directory: string, server: LabServer): Promise<Process> {
  const device = join(directory, 'device');
  await mkdir(join(device, 'factory'), { recursive: true });
  const cli = (args: string[], input?: string) =>
    needProgram(process.execPath, [join(projectRoot, 'dist/holdfast.mjs'), ...args], {
      env: { HOLDFAST_HOME: join(directory, 'profile') },
      ...(input === undefined ? {} : { input }),
    });
  await cli(['login', '--server', server.operatorUrl, '--ca', server.serverCa], server.oneTimeToken);
  await cli(['devices', 'claims', '--class', 'acme-cam', '--ids', 'cam-0001', '--out', join(directory, 'claims')]);
  await copyFile(join(directory, 'claims/cam-0001.claim.json'), join(device, 'factory/claim.json'));
  await copyFile(join(directory, 'data/metadata/1.root.json'), join(device, 'factory/root.json'));
  const config = join(device, 'factory/agent.json');
  await writeFile(config, JSON.stringify(agentConfig(server)));
  return new Process({
    name: 'agent',
    file: join(projectRoot, 'bin/holdfast-agent'),
    args: ['run', '--config', config],
    logFile: join(directory, 'agent.log'),
  });
}

function agentConfig(server: LabServer) {
  return {
    format: 'holdfast-agent-1',
    vendor: 'acme.example',
    hardwareClass: 'acme-cam',
    channel: 'stable',
    environment: 'lab',
    board: { kind: 'none' },
    clock: 'host',
    dataDirectory: '../data',
    factoryRoot: 'root.json',
    factoryInstalled: { sequence: 1, version: '1.0.0' },
    claimFile: 'claim.json',
    server: { url: server.deviceUrl, mqttUrl: server.mqttUrl, anchorsFile: server.serverCa },
  };
}
