/** `holdfast-server`: from the command line to a running server, and from a signal to an orderly end. */
import pino from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import { reportFailure } from '../platform/command-line.ts';
import { EXIT } from '../platform/fault.ts';
import { decodeCommandLine, outputWishes, type ServerConfig } from './config.ts';
import { type RunningServer, startServer } from './server.ts';

function announce(server: RunningServer, config: ServerConfig): void {
  const { endpoints, oneTimeToken } = server;
  if (config.json) {
    process.stdout.write(`${JSON.stringify({ event: 'ready', ...endpoints, oneTimeToken })}\n`);
    return;
  }
  const said =
    server.environment === 'production'
      ? ''
      : `\n  THIS IS A ${server.environment.toUpperCase()}: its signatures are for trying out only.`;
  const token =
    oneTimeToken === null
      ? ''
      : `\n\n  One-time token, shown only now:  ${oneTimeToken}\n  Next:  holdfast login --server ${endpoints.operatorUrl} --ca ${endpoints.serverCa}`;
  process.stdout.write(
    `holdfast-server is ready.${said}\n  devices    ${endpoints.deviceUrl}\n  people     ${endpoints.operatorUrl}\n  mqtt       ${endpoints.mqttUrl}\n  authority  ${endpoints.serverCa}${token}\n`,
  );
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const config = decodeCommandLine(args, packageJson.version);
    if (config === undefined) return EXIT.ok;
    const log = pino({ level: config.logLevel, base: null }, pino.destination({ dest: 2, sync: true }));
    const ended = nextSignal();
    const server = await startServer(config, { log, version: packageJson.version });
    process.on('SIGUSR2', () => {
      log.warn('every MQTT connection is dropped (SIGUSR2)');
      server.dropMqttConnections();
    });
    announce(server, config);
    const signal = await ended;
    log.info({ signal }, 'ending');
    await server.close();
    return EXIT.ok;
  } catch (error) {
    return reportFailure('holdfast-server', error, outputWishes(args));
  }
}

process.exitCode = await main(process.argv.slice(2));
