/** What keeps an idle device quiet, small and alone, taken out. */
import { inFile, type Removal } from './removal.ts';

const SESSION_TESTS = ['test/unit/agent/transport/mqtt-session.test.ts'];
const PACKET_TESTS = ['test/unit/agent/transport/mqtt-packets.test.ts'];
const HOLD_TESTS = ['test/unit/agent/single-instance.test.ts'];
const IDLE_DAY = ['test/sim/idle-day.test.ts'];

export const IDLE: readonly Removal[] = [
  ...inFile('agent/transport/mqtt-session.ts', SESSION_TESTS, [
    {
      name: 'the end of a session whose ping was not answered',
      find: "if (this.#pingUnanswered) return this.#end('the broker left a ping without an answer');",
      replace: '',
    },
    {
      name: 'the end of a session with a broker that reads nothing',
      find: "if (this.#socket.writableLength > UNSENT_CAP_BYTES) this.#end('the broker reads nothing');",
      replace: '',
    },
    {
      name: 'the look for a packet id that nobody waits for',
      find: 'while (this.#awaited.has(this.#lastId));',
      replace: 'while (false);',
    },
    {
      name: 'the refusal of an answer that nobody waits for',
      find: 'if (awaited?.kind === packet.kind) {',
      replace: 'if (awaited === undefined) return;\n    if (awaited.kind === packet.kind) {',
    },
  ]),
  ...inFile('agent/transport/mqtt-packets.ts', PACKET_TESTS, [
    { name: 'the cap on an MQTT packet', find: 'if (length.value > this.#capBytes)', replace: 'if (length.value < 0)' },
    {
      name: 'the refusal of a quality that was never granted',
      find: 'if (qos > QOS_AT_LEAST_ONCE || body.length < 2) return undefined;',
      replace: 'if (body.length < 2) return undefined;',
    },
    {
      name: 'the bound of a topic by its packet',
      find: 'if (topicEnd + 2 * qos > body.length) return undefined;',
      replace: '',
    },
  ]),
  ...inFile('agent/single-instance.ts', HOLD_TESTS, [
    {
      name: 'the start time in the hold on a data directory',
      find: 'startTime(Number(pid)) === started',
      replace: 'startTime(Number(pid)) !== undefined',
    },
    { name: 'the boot in the hold on a data directory', find: 'alive: boot === bootId() && ', replace: 'alive: ' },
    {
      name: 'the look for others in a data directory',
      find: 'if (!isOwn || others.some(({ alive }) => alive)) {',
      replace: 'if (!isOwn) {',
    },
  ]),
  ...inFile('agent/trusted-root.ts', IDLE_DAY, [
    {
      name: 'reading a root without making and syncing its folder',
      find: 'DiskMetadataStore.reading({',
      replace: 'await DiskMetadataStore.open({',
    },
  ]),
  ...inFile('agent/run-loop.ts', IDLE_DAY, [
    {
      name: 'the hour that a status file may be old',
      find: 'const SEEN_STEP_MS = 3600_000;',
      replace: 'const SEEN_STEP_MS = 1;',
    },
  ]),
];
