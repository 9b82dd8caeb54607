/** An agent killed between issue and receipt of its certificate: it must get the very same one at its next start. */
import { X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DemoRun, HARDWARE_CLASS } from '../demo-run.ts';
import { HoldingProxy } from '../holding-proxy.ts';
import { makeDevice, powerOn } from '../steps/devices.ts';
import { sayFact } from '../terminal.ts';
import { killAgent, TROUBLE_LIMIT_MS } from './trouble.ts';

/** A device more, whose first enrolment is cut exactly between the server's answer and its own receipt of it. */
export async function lostCertificate(run: DemoRun, deviceId: string): Promise<string | undefined> {
  const enrolled = async (): Promise<boolean> => (await run.words.device(deviceId)).device.enrolment === 'enrolled';
  let held = false;
  const proxy = await HoldingProxy.start(run.ports.device, async () => {
    if (held) return false;
    held = await enrolled();
    return !held;
  });
  try {
    await run.words.claims(HARDWARE_CLASS, [deviceId], run.path('claims'));
    const endpoints = JSON.parse(await readFile(run.path('server/endpoints.json'), 'utf8'));
    const through = run.path('server/endpoints-through-proxy.json');
    await writeFile(through, JSON.stringify({ ...endpoints, deviceUrl: `https://127.0.0.1:${proxy.port}` }));
    await makeDevice(run, deviceId, through);
    powerOn(run, 'emulator-late', [deviceId]);
    if ((await run.until(TROUBLE_LIMIT_MS, 50, () => held || undefined)) === undefined)
      return 'the server never issued a certificate';
    const certificateFile = join(run.devicePath(deviceId), 'data/identity/device.crt');
    if (await stat(certificateFile).catch(() => undefined)) return 'the device had its certificate already';
    const issued = await issuedTo(run, deviceId);
    if (!(await killAgent(run, deviceId))) return 'there was no agent to kill';
    sayFact(`issued: ${issued}; the answer is held back, the agent killed`);
    return await sameCertificate(run, deviceId, certificateFile, issued, proxy);
  } finally {
    await proxy.stop();
  }
}

/** What the server wrote down when it issued: the fingerprint, or whatever names the certificate. */
async function issuedTo(run: DemoRun, deviceId: string): Promise<string> {
  const entries = (await run.words.audit(100)).filter(
    ({ subject, action }) => subject === deviceId && action.includes('enrol'),
  );
  return entries.map(({ detail }) => detail).join(' | ');
}

async function sameCertificate(
  run: DemoRun,
  deviceId: string,
  certificateFile: string,
  issued: string,
  proxy: HoldingProxy,
): Promise<string | undefined> {
  const { port } = proxy;
  await proxy.stop();
  const again = await HoldingProxy.start(run.ports.device, async () => true, port);
  run.onEnd(() => again.stop());
  const pem = await run.until(TROUBLE_LIMIT_MS, 200, () => readFile(certificateFile, 'utf8').catch(() => undefined));
  if (pem === undefined) return 'the device did not get a certificate after its restart';
  const { fingerprint256, serialNumber } = new X509Certificate(pem);
  const names = [fingerprint256.replaceAll(':', '').toLowerCase(), serialNumber.toLowerCase()];
  if (!names.some((name) => issued.toLowerCase().includes(name)))
    return `it holds ${names.join(', ')}, the server had issued ${issued}`;
  const online = await run.until(TROUBLE_LIMIT_MS, 300, async () =>
    (await run.words.device(deviceId)).device.online ? true : undefined,
  );
  return online === true ? undefined : 'the device did not come online';
}
