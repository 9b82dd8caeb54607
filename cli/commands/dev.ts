/** `holdfast dev`: the inner loop of a tester, against a lab server only. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { imageSizeBytes, mapImage } from '../../keys/image-map.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { DeviceDetail, RolloutView } from '../../protocol/operator-api.ts';
import type { ApiClient } from '../api-client.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { formatDuration, parseDuration } from '../duration.ts';
import { parseImage } from '../image-option.ts';
import type { Output } from '../output.ts';
import { waitFor } from '../patience.ts';
import { withServer } from '../session.ts';

const PAUSE_MS = 250;

interface PushOptions {
  readonly device: string;
  readonly component: string;
  readonly with: readonly string[];
  readonly timeout: string;
}

interface Watched {
  readonly detail: DeviceDetail;
  readonly rollout: RolloutView;
}

/** Brings an image to the server, unless it is there. Returns its digest, hex. */
async function upload(out: Output, api: ApiClient, path: string): Promise<string> {
  const reading = out.progress(`Reading ${basename(path)}`, await imageSizeBytes(path));
  const { sizeBytes, sha256 } = await mapImage(path, (doneBytes) => reading.update(doneBytes));
  reading.finish();
  if (await api.hasArtifact(sha256, sizeBytes)) return sha256;
  const uploading = out.progress(`Uploading ${basename(path)}`, sizeBytes);
  await api.putArtifact({ path, sizeBytes, sha256 }, (doneBytes) => uploading.update(doneBytes));
  uploading.finish();
  return sha256;
}

function push(out: Output, image: string, options: PushOptions): Promise<Outcome> {
  const timeoutMs = parseDuration(options.timeout, '--timeout');
  return withServer(out, async ({ api, profile }) => {
    if (profile.met.environment !== 'lab') {
      throw new Fault({
        code: 'lab-only',
        what: `the server is a ${profile.met.environment} server, and signs nothing by itself`,
        where: profile.serverUrl,
        cure: 'Use holdfast release build, sign and publish; or start a lab server: holdfast-server --lab.',
        exitStatus: EXIT.refused,
      });
    }
    const startedMs = performance.now();
    const { device } = await api.device(options.device);
    if (device.enrolment !== 'enrolled') {
      throw new Fault({
        code: 'device-not-enrolled',
        what: `the device is ${device.enrolment}, and takes nothing before it enrolled`,
        where: options.device,
        cure: `Power it and wait until it polls: holdfast explain ${options.device}.`,
        exitStatus: EXIT.refused,
      });
    }
    const sha256 = await upload(out, api, image);
    const others = [];
    for (const { component, path } of options.with.map(parseImage)) {
      others.push({ component, sha256: await upload(out, api, path) });
    }
    const request = { deviceId: options.device, component: options.component, sha256 };
    const { rolloutId, version, sequence } = await api.labPush(others.length === 0 ? request : { ...request, others });
    out.say(
      `Signed by the lab as ${version} (sequence ${sequence}); waiting for ${options.device} to confirm its boot.`,
    );
    const line = out.statusLine();
    const since = (): string => formatDuration(performance.now() - startedMs);
    const confirmed = ({ rollout }: Watched): boolean => rollout.state === 'complete' && rollout.confirmed > 0;
    const last = await waitFor<Watched>({
      ask: async () => ({ detail: await api.device(options.device), rollout: await api.rollout(rolloutId) }),
      done: (answer) => answer.rollout.state !== 'running' || performance.now() - startedMs > timeoutMs,
      onAnswer({ detail }) {
        const state = `${options.device}: ${detail.device.state ?? '-'} (${detail.explanation.reason})`;
        line.show(`${since()}  ${state}`, state);
      },
      onAway: (fault) => line.show(`${since()}  the server is away, asking again (${fault.code})`),
      pauseMs: PAUSE_MS,
    });
    line.finish();
    const tookMs = Math.round(performance.now() - startedMs);
    const document = {
      deviceId: options.device,
      rolloutId,
      version,
      sequence,
      tookMs,
      device: last.detail.device,
      rollout: last.rollout,
    };
    if (confirmed(last)) {
      out.say(`${options.device} runs ${version}, confirmed, ${formatDuration(tookMs)} after you started.`);
      return { document };
    }
    const { explanation } = last.detail;
    out.say(
      `${options.device} does not run ${version}${last.rollout.state === 'running' ? ` after ${options.timeout}` : ''}: ${last.rollout.reason} (${explanation.reason}: ${explanation.detail})`,
    );
    out.next(`holdfast explain ${options.device}`, explanation.cure);
    return { document: { ...document, explanation }, exitStatus: EXIT.refused };
  });
}

export function addDevCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'dev', 'the inner loop against a lab server');
  const pushCommand = addCommand(group, {
    usage: 'push IMAGE',
    summary: 'put an image on a lab device, and wait until it booted and confirmed (exit 0) or went back (exit 4)',
    details:
      'Needs a server started with `holdfast-server --lab`, which signs with its own lab keys. No ceremony, next sequence.\n' +
      'A device that does no first boot takes it only from a server with --credentials-gate report.',
    examples: ['holdfast dev push rootfs.img --device cam-0001'],
  })
    .requiredOption('--device <ID>', 'the device')
    .option('--component <NAME>', 'which image of the device it is', 'rootfs')
    .option(
      '--with <COMPONENT=FILE>',
      'another image, for the first push to a class that has no release yet',
      collectValues,
      [],
    )
    .option('--timeout <DURATION>', 'how long to wait for the confirmed boot', '5m');
  onRun<PushOptions>(pushCommand, finish, (out, options, image = '') => push(out, image, options));
}
