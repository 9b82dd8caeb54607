/** The broker drops every connection: devices come back by themselves. */
import type { DemoRun } from '../demo-run.ts';
import { sayFact } from '../terminal.ts';
import { type FleetInTrouble, TROUBLE_LIMIT_MS } from './trouble.ts';

export async function brokerDropsAll(
  run: DemoRun,
  fleet: FleetInTrouble,
  deviceIds: readonly string[],
): Promise<string | undefined> {
  const online = async (): Promise<number> =>
    (await run.words.devices()).filter((device) => deviceIds.includes(device.deviceId) && device.online).length;
  if (
    (await run.until(TROUBLE_LIMIT_MS, 300, async () => ((await online()) === deviceIds.length ? true : undefined))) !==
    true
  ) {
    return 'not every device was online before';
  }
  fleet.server.signal('SIGUSR2');
  const dropped = await run.until(5000, 20, async () => ((await online()) < deviceIds.length ? true : undefined));
  const back = await run.until(TROUBLE_LIMIT_MS, 300, async () =>
    (await online()) === deviceIds.length ? true : undefined,
  );
  if (back !== true) return `${await online()} of ${deviceIds.length} devices came back`;
  sayFact(dropped === true ? 'the server saw them go and come back' : 'they were back before the server was asked');
  return undefined;
}
