/** A stranger at the device's MQTT broker: CONNECT with a name and a password, and what the CONNACK says. */
import { connectAsync, ErrorWithReasonCode } from 'mqtt';
import { errorText } from '../../../platform/fault.ts';
import type { Login } from './stranger-logins.ts';

const DEADLINE_MS = 60_000;
/** MQTT 3.1.1, table 3.1: bad user name or password; not authorized. */
const REFUSALS = [4, 5];

/** `accepted`, `refused` by the broker's own word, or what else happened. */
export async function triesBroker(port: number, { user, password }: Login): Promise<string> {
  const how = { host: '127.0.0.1', port, reconnectPeriod: 0, connectTimeout: DEADLINE_MS, protocolVersion: 4 } as const;
  try {
    const client = await connectAsync({ ...how, username: user, password });
    await client.endAsync(true);
    return 'accepted';
  } catch (error) {
    const isRefusal = error instanceof ErrorWithReasonCode && REFUSALS.includes(error.code);
    return isRefusal ? 'refused' : errorText(error);
  }
}
