import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HoldingProxy } from '../../../../scripts/demo/holding-proxy.ts';

let echo: Server;
let proxy: HoldingProxy | undefined;

beforeEach(async () => {
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  await proxy?.stop();
  await new Promise((resolve) => echo.close(resolve));
});

const targetPort = (): number => (echo.address() as AddressInfo).port;

function talk(port: number): { socket: ReturnType<typeof connect>; heard: () => string } {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('error', () => undefined);
  socket.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return { socket, heard: () => text };
}

describe('the holding proxy', () => {
  it('passes both directions while the gate is open', async () => {
    proxy = await HoldingProxy.start(targetPort(), async () => true);
    const { socket, heard } = talk(proxy.port);
    socket.write('hello');
    await expect.poll(heard).toBe('hello');
  });

  it('holds everything from the server once the gate has said no, and still lets the request through', async () => {
    let asked = 0;
    proxy = await HoldingProxy.start(targetPort(), async () => {
      asked += 1;
      return asked === 1;
    });
    const { socket, heard } = talk(proxy.port);
    socket.write('first');
    await expect.poll(heard).toBe('first');
    socket.write('second');
    await expect.poll(() => asked).toBe(2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard()).toBe('first');
  });

  it('breaks connections when it stops, and can take its old port again', async () => {
    proxy = await HoldingProxy.start(targetPort(), async () => true);
    const { port } = proxy;
    const { socket } = talk(port);
    await new Promise((resolve) => socket.once('connect', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await proxy.stop();
    await closed;
    proxy = await HoldingProxy.start(targetPort(), async () => true, port);
    expect(proxy.port).toBe(port);
  });
});
