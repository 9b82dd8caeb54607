import { mkdtemp } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Qmp } from '../../../../scripts/qemu/qmp.ts';

/** Answers as the specification's examples do, an event in between. */
let server: Server;
let path: string;
let answers: Record<string, unknown>;
const asked: string[] = [];
beforeEach(async () => {
  path = join(await mkdtemp(join(tmpdir(), 'qmp-')), 'socket');
  asked.length = 0;
  answers = { qmp_capabilities: { return: {} } };
  server = createServer((socket) => {
    socket.write(`${JSON.stringify({ QMP: { version: {}, capabilities: [] } })}\n`);
    createInterface({ input: socket }).on('line', (line) => {
      const { execute } = JSON.parse(line);
      asked.push(execute);
      socket.write(`${JSON.stringify({ event: 'RESUME', timestamp: {} })}\n`);
      if (answers[execute] === undefined) socket.destroy();
      else socket.write(`${JSON.stringify(answers[execute])}\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, () => resolve()));
});
afterEach(() => new Promise<void>((resolve) => server.close(() => resolve())));

describe('the machine protocol', () => {
  it('asks for capabilities first, and passes events by', async () => {
    answers.query_status = { return: { running: true } };
    const qmp = await Qmp.connect(path);
    expect(await qmp.command('query_status')).toEqual({ running: true });
    expect(asked).toEqual(['qmp_capabilities', 'query_status']);
    qmp.close();
  });

  it("throws with QEMU's words when it refuses", async () => {
    answers.system_reset = { error: { class: 'GenericError', desc: 'not now' } };
    const qmp = await Qmp.connect(path);
    await expect(qmp.command('system_reset')).rejects.toThrow('QEMU refuses system_reset: not now');
    qmp.close();
  });

  it('takes any word of the human monitor for a refusal', async () => {
    answers['human-monitor-command'] = { return: 'Error: no block device can store vmstate\r\n' };
    const qmp = await Qmp.connect(path);
    await expect(qmp.monitor('savevm ready')).rejects.toThrow(/savevm ready: Error: no block device/);
    qmp.close();
  });

  it('throws when QEMU goes away', async () => {
    const qmp = await Qmp.connect(path);
    await expect(qmp.command('quit')).rejects.toThrow('QEMU went away during quit');
    qmp.close();
  });
});
