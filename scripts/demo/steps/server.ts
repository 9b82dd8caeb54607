/** Step 2: the server, and the operator who logs in with the one-time token. */
import { readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Process } from '../../../platform/processes.ts';
import { PROJECT_DIRECTORY } from '../../images/demo-images.ts';
import type { DemoRun } from '../demo-run.ts';
import { sayCommand, sayFact } from '../terminal.ts';

const Ready = v.object({ event: v.literal('ready'), operatorUrl: v.string(), oneTimeToken: v.nullable(v.string()) });
export type Ready = v.InferOutput<typeof Ready>;

/** Starts the server on the run's ports. The first start has the ceremony's folder to import from. */
export async function startServer(run: DemoRun, first: boolean): Promise<{ server: Process; ready: Ready }> {
  const { device, operator, mqtt } = run.ports;
  const args = ['run', '--data', run.path('server'), ...(first ? ['--keys', run.path('ceremony/server')] : [])];
  args.push('--device-port', String(device), '--operator-port', String(operator), '--mqtt-port', String(mqtt));
  args.push('--poll-after-ms', '2000', '--tick-ms', '250', '--log-level', 'warn', '--json');
  sayCommand(['bin/holdfast-server', ...args]);
  const file = join(PROJECT_DIRECTORY, 'bin/holdfast-server');
  const server = run.processes.start({ name: 'holdfast-server', file, args, logFile: run.path('server.log') });
  return { server, ready: v.parse(Ready, await server.firstLine()) };
}

/** Status of an address without any credential. */
function statusOf(url: string, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { ca, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.once('error', reject);
  });
}

export async function openServer(run: DemoRun): Promise<Process> {
  const { server, ready } = await startServer(run, true);
  const token = ready.oneTimeToken;
  if (!run.check(token !== null, 'the first start prints a one-time token; there is no default password')) {
    throw new Error('without a token nobody can log in');
  }
  const tokenFile = run.path('one-time-token');
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
  const login = await run.words.holdfast([
    'login',
    '--server-data',
    run.path('server'),
    '--token-file',
    tokenFile,
    '--name',
    'demo',
  ]);
  const { role, environment } = v.parse(v.object({ role: v.string(), environment: v.string() }), login);
  run.check(environment === 'rehearsal', `logged in as ${role}; the server says ${environment}`);
  const again = await run.words.holdfast(
    ['login', '--server-data', run.path('server'), '--token-file', tokenFile, '--name', 'again'],
    {
      alsoStatus: [1, 2, 3, 4, 5, 6, 7],
    },
  );
  run.check(v.is(v.object({ ok: v.literal(false) }), again), 'the one-time token works once');
  const ca = await readFile(run.path('server/pki/server-ca.pem'), 'utf8');
  const health = await statusOf(`${run.deviceUrl}/healthz`, ca);
  const metadata = await statusOf(`${run.deviceUrl}/device/v1/metadata/timestamp.json`, ca);
  run.check(health === 200 && metadata === 401, `without a certificate: /healthz ${health}, metadata ${metadata}`);
  sayFact(`the page: ${ready.operatorUrl}`);
  return server;
}
