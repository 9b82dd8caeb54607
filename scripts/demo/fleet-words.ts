/**
 * What server and devices say, asked through the published commands and decoded. Everything in the report comes from
 * here; nothing is remembered of what was meant to happen.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { decodeBooted, type EmulatedBootFacts, emulatedPaths } from '../../platform/emulated-boot-env.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { ClaimFile } from '../../protocol/enrolment.ts';
import { AuditEntry, DeviceDetail, DeviceView, RolloutView } from '../../protocol/operator-api.ts';
import { PROJECT_DIRECTORY } from '../images/demo-images.ts';
import { type ProgramResult, runProgram } from '../programs.ts';
import { sayCommand } from './terminal.ts';

/** The part of `holdfast-agent status --json` that the demo reads. */
const AgentSays = v.object({
  running: v.boolean(),
  deviceId: v.nullable(v.string()),
  status: v.nullable(
    v.object({
      state: v.string(),
      bootedSlot: v.nullable(v.string()),
      installed: v.object({ sequence: v.number(), version: v.string() }),
      quarantined: v.array(v.object({ sequence: v.number(), reason: v.string() })),
      mqttConnected: v.boolean(),
    }),
  ),
});
export type AgentSays = v.InferOutput<typeof AgentSays>;

export interface CommandWish {
  /** Print the line; polling does not. */
  readonly quiet?: boolean;
  /** Exit statuses besides 0 that are an answer and not a failure. */
  readonly alsoStatus?: readonly number[];
  readonly input?: string;
}

export class FleetWords {
  readonly #operatorHome: string;

  /** `operatorHome`: where the operator's profile lies (HOLDFAST_HOME). */
  constructor(operatorHome: string) {
    this.#operatorHome = operatorHome;
  }

  /** Runs `holdfast …` and returns what it printed for machines. Any unexpected exit status is a Fault. */
  async holdfast(words: readonly string[], wish: CommandWish = {}): Promise<unknown> {
    if (wish.quiet !== true) sayCommand(['bin/holdfast', ...words]);
    const result = await runProgram(join(PROJECT_DIRECTORY, 'bin/holdfast'), [...words, '--json'], {
      env: { HOLDFAST_HOME: this.#operatorHome },
      ...(wish.input === undefined ? {} : { input: wish.input }),
    });
    return documentOf(['holdfast', ...words], result, wish.alsoStatus ?? []);
  }

  async devices(): Promise<DeviceView[]> {
    const said = await this.holdfast(['devices', 'list'], { quiet: true });
    return v.parse(v.object({ devices: v.array(DeviceView) }), said).devices;
  }

  async device(deviceId: string): Promise<DeviceDetail> {
    return v.parse(v.object(DeviceDetail.entries), await this.holdfast(['devices', 'show', deviceId], { quiet: true }));
  }

  async rollouts(): Promise<RolloutView[]> {
    const said = await this.holdfast(['rollout', 'list'], { quiet: true });
    return v.parse(v.object({ rollouts: v.array(RolloutView) }), said).rollouts;
  }

  async rollout(rolloutId: string): Promise<RolloutView> {
    const said = await this.holdfast(['rollout', 'show', rolloutId], { quiet: true });
    return v.parse(v.object({ rollout: RolloutView }), said).rollout;
  }

  async audit(limit: number): Promise<AuditEntry[]> {
    const said = await this.holdfast(['audit', 'list', '--limit', String(limit)], { quiet: true });
    return v.parse(v.object({ entries: v.array(AuditEntry) }), said).entries;
  }

  /** Makes claims and returns the files' contents, in the order of `ids`. */
  async claims(
    hardwareClass: string,
    ids: readonly string[],
    outDirectory: string,
    wish: CommandWish = {},
  ): Promise<ClaimFile[]> {
    await this.holdfast(
      ['devices', 'claims', '--class', hardwareClass, '--ids', ids.join(','), '--out', outDirectory],
      wish,
    );
    const read = async (id: string) =>
      v.parse(ClaimFile, JSON.parse(await readFile(claimPath(outDirectory, id), 'utf8')));
    return Promise.all(ids.map(read));
  }

  /** The device's own word. */
  async agent(deviceDirectory: string): Promise<AgentSays> {
    const words = ['status', '--config', join(deviceDirectory, 'factory/agent.json'), '--json'];
    const result = await runProgram(join(PROJECT_DIRECTORY, 'bin/holdfast-agent'), words);
    return v.parse(AgentSays, documentOf(['holdfast-agent', ...words], result, []));
  }
}

export const claimPath = (directory: string, deviceId: string): string => join(directory, `${deviceId}.claim.json`);

/** What the bootloader wrote at the last boot; undefined before the first. */
export async function bootedFacts(deviceDirectory: string): Promise<EmulatedBootFacts | undefined> {
  const bytes = await readFile(emulatedPaths(deviceDirectory).booted).catch(() => undefined);
  return bytes === undefined ? undefined : decodeBooted(bytes);
}

function documentOf(words: readonly string[], result: ProgramResult, alsoStatus: readonly number[]): unknown {
  const document = jsonOf(result.stdout);
  if (document !== undefined && (result.status === 0 || alsoStatus.includes(result.status))) return document;
  const said = v.safeParse(v.object({ code: v.string(), what: v.string(), cure: v.optional(v.string()) }), document);
  throw new Fault({
    code: said.success ? said.output.code : 'command-failed',
    what: `${words.slice(0, 3).join(' ')} ended with status ${result.status}: ${said.success ? said.output.what : result.stderr.trim().slice(-500)}`,
    where: words.join(' '),
    cure: (said.success ? said.output.cure : undefined) ?? 'Run the printed command by hand.',
    exitStatus: EXIT.remote,
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
