import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { Fault } from '../../../platform/fault.ts';
import { decodeCommandLine } from '../../../update-server/config.ts';

const decode = (...args: string[]) => decodeCommandLine(args, '0.0.0');

test('a command line with nothing but a folder gets the documented values', () => {
  expect(decode('run', '--data', 'x')).toEqual({
    dataDirectory: resolve('x'),
    keysDirectory: undefined,
    sealingKeyFile: undefined,
    host: '127.0.0.1',
    devicePort: 8443,
    operatorPort: 8444,
    mqttPort: 8883,
    names: [],
    lab: null,
    tickMs: 1000,
    pollAfterMs: 60_000,
    transport: { recipesFrom: 3, memoryCapBytes: 1536 * 2 ** 20, diskCapBytes: 20 * 2 ** 30 },
    credentialPolicy: { gate: 'enforce', factoryCertificateMs: 168 * 3600_000 },
    logLevel: 'info',
    json: false,
    debug: false,
  });
});

test('run is the command when none is named, and every option is taken', () => {
  const config = decode(
    ...['--lab', '--lab-vendor', 'other.example', '--data', 'x', '--host', '0.0.0.0', '--device-port', '0'],
    ...['--operator-port', '1', '--mqtt-port', '65535', '--name', 'a.example', '10.0.0.1', '--tick-ms', '50'],
    ...['--poll-after-ms', '200', '--log-level', 'silent', '--json', '--debug'],
    ...['--delta-releases', '0', '--delta-memory-mib', '128', '--transport-disk-mib', '5'],
    ...['--credentials-gate', 'report', '--factory-certificate-hours', '24'],
  );
  expect(config).toMatchObject({
    lab: { vendor: 'other.example' },
    host: '0.0.0.0',
    devicePort: 0,
    operatorPort: 1,
    mqttPort: 65_535,
    names: ['a.example', '10.0.0.1'],
    tickMs: 50,
    pollAfterMs: 200,
    transport: { recipesFrom: 0, memoryCapBytes: 2 ** 27, diskCapBytes: 5 * 2 ** 20 },
    credentialPolicy: { gate: 'report', factoryCertificateMs: 24 * 3600_000 },
    logLevel: 'silent',
    json: true,
    debug: true,
  });
});

test.each([
  [['--data', 'x', '--nonsense']],
  [[]],
  [['walk', '--data', 'x']],
  [['--data', 'x', '--mqtt-port', '65536']],
  [['--data', 'x', '--credentials-gate', 'sometimes']],
  [['--data', 'x', '--factory-certificate-hours', '0']],
  [['--data', 'x', '--mqtt-port', '1.5']],
  [['--data', 'x', '--tick-ms', '-1']],
  [['--data', 'x', '--tick-ms', '1']],
  [['--data', 'x', '--poll-after-ms', '999999999999']],
  [['--data', 'x', '--name', 'not a name']],
  [['--data', 'x', '--lab-vendor', 'Not A Vendor']],
  [['--data', 'x', '--log-level', 'loud']],
  [['--data', 'x', '--delta-releases', '33']],
  [['--data', 'x', '--delta-memory-mib', '1']],
  [['--data', 'x', '--transport-disk-mib', '0']],
  [['--data', 'x', '--lab', '--keys', 'y']],
])('refuses %j with one fault', (args) => {
  let thrown: unknown;
  try {
    decode(...args);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(Fault);
  expect(thrown).toMatchObject({ code: 'command-line-wrong', exitStatus: 2 });
});
