import { Duplex } from 'node:stream';
import { generate, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { SourceUnreachable } from '../../../../agent/core/ports.ts';
import { MqttSession } from '../../../../agent/transport/mqtt-session.ts';

const MQTT_3_1_1 = { protocolVersion: 4 } as const;
const KEEP_ALIVE_MS = 240_000;

/** A broker's end of the connection: what it hears, and a voice. Both ends are in memory; nothing is timed. */
class BrokerEnd extends Duplex {
  readonly heard: Packet[] = [];
  readonly #parser = parser(MQTT_3_1_1).on('packet', (packet) => this.heard.push(packet));
  stalled = false;

  constructor() {
    super({ allowHalfOpen: false });
  }
  override _read(): void {}
  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#parser.parse(bytes);
    if (!this.stalled) done();
  }
  says(packet: Packet): void {
    this.push(generate(packet, MQTT_3_1_1));
  }
}

/** Sleepers wake when the test says how late it is. */
class SteppedClock {
  readonly sleepers: { readonly ms: number; wake: () => void }[] = [];

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const sleeper = { ms, wake: resolve };
      const leave = (): void => {
        this.sleepers.splice(this.sleepers.indexOf(sleeper), 1);
        resolve();
      };
      sleeper.wake = leave;
      signal?.addEventListener('abort', leave, { once: true });
      this.sleepers.push(sleeper);
    });
  }
  get waitingMs(): number[] {
    return this.sleepers.map(({ ms }) => ms);
  }
  async next(): Promise<void> {
    this.sleepers[0]?.wake();
    await settled();
  }
}

/** Every promise and tick that can go on has gone on. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function begin() {
  const broker = new BrokerEnd();
  const clock = new SteppedClock();
  const messages: [string, boolean][] = [];
  const opening = MqttSession.open(broker, {
    clock,
    clientId: 'cam-0001',
    will: { topic: 'presence', payload: 'gone' },
    keepAliveMs: KEEP_ALIVE_MS,
    connectDeadlineMs: 15_000,
    packetCapBytes: 1500,
    onMessage: (topic, retained) => messages.push([topic, retained]),
  });
  opening.catch(() => {});
  return { broker, clock, messages, opening };
}

async function opened() {
  const { opening, ...rest } = begin();
  rest.broker.says({ cmd: 'connack', returnCode: 0, sessionPresent: false });
  return { ...rest, session: await opening };
}

describe('an MQTT session', () => {
  it('announces the interval at which it will ping', async () => {
    const { broker } = await opened();
    expect(broker.heard).toMatchObject([
      { cmd: 'connect', keepalive: KEEP_ALIVE_MS / 1000, will: { topic: 'presence' } },
    ]);
  });

  it('waits for CONNACK no longer than its deadline', async () => {
    const { clock, opening, broker } = begin();
    expect(clock.waitingMs).toEqual([15_000]);
    await clock.next();
    await expect(opening).rejects.toThrow('no CONNACK within 15000 ms');
    expect(broker.destroyed).toBe(true);
  });

  it('ends when the broker refuses the device, and says its code', async () => {
    const { broker, opening } = begin();
    broker.says({ cmd: 'connack', returnCode: 5, sessionPresent: false });
    await expect(opening).rejects.toThrow('with code 5');
    expect(broker.destroyed).toBe(true);
  });

  it('has one timer, and pings by it', async () => {
    const { broker, clock } = await opened();
    for (let ping = 1; ping <= 3; ping += 1) {
      expect(clock.waitingMs).toEqual([KEEP_ALIVE_MS]);
      await clock.next();
      expect(broker.heard.filter(({ cmd }) => cmd === 'pingreq')).toHaveLength(ping);
      broker.says({ cmd: 'pingresp' });
      await settled();
    }
  });

  it('ends when a ping was not answered by the time of the next', async () => {
    const { clock, session } = await opened();
    await clock.next();
    await clock.next();
    expect(await session.ended).toBe('the broker left a ping without an answer');
    expect(clock.waitingMs).toEqual([]);
  });

  it('takes a message as delivered when the broker has acknowledged this one', async () => {
    const { broker, session } = await opened();
    const order: string[] = [];
    const first = session.publish({ topic: 'a', payload: '1' }).then(() => order.push('first'));
    const second = session.publish({ topic: 'a', payload: '2' }).then(() => order.push('second'));
    broker.says({ cmd: 'puback', messageId: 2 });
    await second;
    broker.says({ cmd: 'puback', messageId: 1 });
    await first;
    expect(order).toEqual(['second', 'first']);
  });

  it('says when its subscription is refused', async () => {
    const { broker, session } = await opened();
    const subscribed = session.subscribe('hint');
    broker.says({ cmd: 'suback', messageId: 1, granted: [0x80] });
    await expect(subscribed).rejects.toThrow('refused');
  });

  it('never gives an id twice while the first still waits, however many were given', async () => {
    const { broker, session } = await opened();
    void session.publish({ topic: 'a', payload: 'slow' }).catch(() => {});
    for (let id = 2; id <= 0xffff; id += 1) {
      const sent = session.publish({ topic: 'a', payload: '' });
      broker.says({ cmd: 'puback', messageId: id });
      await sent;
    }
    void session.publish({ topic: 'a', payload: 'again' }).catch(() => {});
    await settled();
    expect(broker.heard.at(-1)?.messageId).toBe(2);
  });

  it('hands over messages and acknowledges those that ask for it', async () => {
    const { broker, messages } = await opened();
    const message = { cmd: 'publish', topic: 'hint', payload: 'x', dup: false } as const;
    broker.says({ ...message, qos: 1, messageId: 9, retain: false });
    broker.says({ ...message, qos: 0, retain: true });
    await settled();
    expect(messages).toEqual([
      ['hint', false],
      ['hint', true],
    ]);
    expect(broker.heard.filter(({ cmd }) => cmd === 'puback')).toMatchObject([{ messageId: 9 }]);
  });

  it('settles everything that waits when it ends, and everything that is asked afterwards', async () => {
    const { broker, session } = await opened();
    const waiting = [session.publish({ topic: 'a', payload: '' }), session.subscribe('b')];
    broker.destroy();
    for (const promise of waiting) await expect(promise).rejects.toThrow(SourceUnreachable);
    await expect(session.publish({ topic: 'a', payload: '' })).rejects.toThrow(SourceUnreachable);
  });

  it.each<[string, Packet]>([
    ['an acknowledgement that nobody waits for', { cmd: 'puback', messageId: 3 }],
    ['a second CONNACK', { cmd: 'connack', returnCode: 0, sessionPresent: false }],
    [
      'a message at quality 2',
      { cmd: 'publish', topic: 't', payload: '', qos: 2, messageId: 1, retain: false, dup: false },
    ],
  ])('ends at %s', async (_what, packet) => {
    const { broker, session } = await opened();
    broker.says(packet);
    expect(await session.ended).toContain('answer-malformed');
  });

  it('leaves a broker that sends and does not read', async () => {
    const { broker, session } = await opened();
    broker.stalled = true;
    for (let message = 0; message < 30_000 && !broker.destroyed; message += 1)
      broker.says({ cmd: 'publish', topic: 't', payload: '', qos: 1, messageId: 1, retain: false, dup: false });
    expect(await session.ended).toBe('the broker reads nothing');
  });

  it('says goodbye, so that the last will stays where it is', async () => {
    const { broker, session } = await opened();
    await session.goodbye();
    expect(broker.heard.at(-1)).toMatchObject({ cmd: 'disconnect' });
    expect(await session.ended).toBe('it was ended');
  });
});
