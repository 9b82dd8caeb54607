/**
 * A device that is watched at its ports: whatever it does to the world, the journal that a power cut would leave must
 * already owe the effect that does it, and what is reported must already be durable (agent/update-engine.ts, invariants).
 *
 * May not: change what the device does.
 */
import { RECOVERY_RULES } from '../../../agent/core/boot-recovery.ts';
import { type Effect, INSTALL_MACHINE } from '../../../agent/core/install-machine.ts';
import type { Board, BootFacts, EnginePorts, ImageTransport } from '../../../agent/core/ports.ts';
import type { InstallJournal } from '../../../agent/storage/journal.ts';
import type { ReportEvent } from '../../../protocol/device-api.ts';
import type { MachineKind } from '../machines/machine.ts';
import type { MemorySource } from '../release-fixture.ts';
import { DEVICE, SimulatedDevice, STATE } from '../simulated-device.ts';
import type { DiskOperation, SimulatedDisk } from '../simulated-disk.ts';
import { asDurable, recordIn } from './durable-records.ts';

const BOARD_EFFECTS: Readonly<Partial<Record<keyof Board, readonly Effect[]>>> = {
  retireSlot: ['retire-slot', 'retire-below-floor'],
  armTrial: ['arm-trial'],
  disarmTrial: ['disarm-trial'],
  confirmSlot: ['confirm-slot'],
  requestReboot: ['request-reboot', 'go-back'],
};

/** Files, by their beginning, and whose they are. The journal and the reports are nobody's. */
const FILE_EFFECTS: readonly (readonly [string, readonly Effect[]])[] = [
  [`${STATE}/counters`, ['raise-counters']],
  [`${STATE}/slots`, ['retire-slot', 'record-slot']],
  [`${STATE}/quarantine`, ['record-verdict', 'raise-counters']],
  [`${STATE}/metadata/`, ['obtain']],
  [`${DEVICE}/board/slots/`, ['fill-slot']],
];

const REPORT_EFFECTS: Readonly<Partial<Record<ReportEvent['kind'], readonly Effect[]>>> = {
  refused: ['report-refused'],
  failed: ['report-failed'],
  'rolled-back': ['report-rolled-back'],
};

export class WatchedDevice extends SimulatedDevice {
  readonly #watched: SimulatedDisk;
  /** What went against the rule. */
  readonly broken: string[] = [];
  /** The agent may find a record of which no copy can be used. */
  expectsDamage = false;
  /** The agent of this boot has written its journal: its records are loaded. */
  #atWork = false;
  /** Which rule of boot recovery this start went by. */
  #rule = '';

  constructor(disk: SimulatedDisk, source: MemorySource, directory: string, kind: MachineKind) {
    super(disk, source, directory, kind);
    this.#watched = disk;
    this.onPause = () => this.#checkPause();
  }

  /** To be called after each of the disk's operations. */
  afterOperation({ kind, path, text }: DiskOperation): void {
    if (kind !== 'write' && kind !== 'truncate') return;
    if (path.startsWith(`${STATE}/journal`)) this.#atWork = true;
    const rule = FILE_EFFECTS.find(([beginning]) => path.startsWith(beginning));
    // What was never there, or is lost, is written as soon as the agent starts.
    if (rule !== undefined && this.#atWork) this.#mustOwe(text, rule[1]);
  }

  override boot(): Promise<BootFacts> {
    this.#atWork = false;
    return super.boot();
  }

  override ports(): EnginePorts {
    const ports = super.ports();
    const { source, health, server, reporter, log } = ports;
    const { transport } = source;
    return {
      ...ports,
      log: {
        ...log,
        info: (message, facts) => {
          if (message === 'started') this.#rule = String(facts?.rule);
          log.info(message, facts);
        },
      },
      board: this.#watchBoard(ports.board),
      source: {
        description: source.description,
        fetchMetadata: (name, cap) => this.#owing(`fetch ${name}`, ['obtain'], () => source.fetchMetadata(name, cap)),
        fetchTarget: (path, cap) => this.#owing(`fetch ${path}`, ['obtain'], () => source.fetchTarget(path, cap)),
        fetchRange: (path, from, length, into) =>
          this.#owing(`fetch ${path}`, ['fill-slot'], () => source.fetchRange(path, from, length, into)),
        ...(transport === undefined ? {} : { transport: this.#watchTransport(transport) }),
      },
      health: { check: () => this.#owing('health checks', ['judge-trial'], () => health.check()) },
      server: {
        reachable: () => this.#owing('asking for the server', ['note-server', 'judge-trial'], () => server.reachable()),
      },
      reporter: {
        record: (event) => {
          this.#checkReport(event);
          return reporter.record(event);
        },
      },
    };
  }

  #watchTransport(transport: ImageTransport): ImageTransport {
    const owes = (path: string) => this.#mustOwe(`fetch ${path}`, ['fill-slot']);
    return {
      read: (path, offset, into) => {
        owes(path);
        return transport.read(path, offset, into);
      },
      askPieces: (path, runs, capBytes) => {
        owes(path);
        return transport.askPieces(path, runs, capBytes);
      },
    };
  }

  #watchBoard(board: Board): Board {
    return new Proxy(board, {
      get: (target, name: keyof Board) => {
        const member = target[name];
        if (typeof member !== 'function') return member;
        const effects = BOARD_EFFECTS[name];
        return (...words: never[]) => {
          if (effects !== undefined) this.#mustOwe(name, effects);
          return (member as (...all: never[]) => unknown).apply(target, words);
        };
      },
    });
  }

  #owing<T>(deed: string, effects: readonly Effect[], act: () => T): T {
    this.#mustOwe(deed, effects);
    return act();
  }

  #journal(): InstallJournal | undefined {
    return recordIn(asDurable(this.#watched), 'journal');
  }

  #mustOwe(deed: string, effects: readonly Effect[]): void {
    const owed = this.#journal()?.owed ?? [];
    if (effects.some((effect) => owed.includes(effect))) return;
    this.broken.push(
      `${deed} before the journal owes ${effects.join(' or ')}: durably it owes ${owed.join(', ') || 'nothing'}`,
    );
  }

  /** A source that is away: the journal says what is left to do, and no more. */
  #checkPause(): void {
    const journal = this.#journal();
    const left = journal === undefined ? undefined : INSTALL_MACHINE[journal.state]['source-away']?.effects;
    if (left === undefined || left.join() === journal?.owed.join()) return;
    this.broken.push(`pauses with ${left} left to do, and the durable journal owes ${journal?.owed}`);
  }

  /** What boot recovery decided is durable before anything is told of it. */
  #checkRecovery(journal: InstallJournal | undefined): void {
    const gives = RECOVERY_RULES.find(({ name }) => name === this.#rule)?.gives;
    const state = gives?.state ?? 'held';
    const owed = gives?.effects ?? ['report-held'];
    const said = owed === 'as-journaled' ? '' : owed.join();
    if (journal?.state === state && (said === '' || journal.owed.join() === said)) return;
    const stands = journal === undefined ? 'there is no journal' : `it says ${journal.state}, owes ${journal.owed}`;
    this.broken.push(`boot recovery (${this.#rule}) told of the boot before it journaled ${state} ${said}: ${stands}`);
  }

  #checkReport(event: ReportEvent): void {
    const journal = this.#journal();
    const effects = REPORT_EFFECTS[event.kind];
    if (effects !== undefined) this.#mustOwe(`report ${event.kind}`, effects);
    if (event.kind === 'state' && journal?.state !== event.state) {
      this.broken.push(`reported state ${event.state} before it is durable: the journal says ${journal?.state}`);
    }
    if (event.kind === 'notice' && event.code.endsWith('-damaged') && !this.expectsDamage) {
      this.broken.push(`found a record that it cannot use: ${event.detail}`);
    }
    if (event.kind === 'booted') this.#checkRecovery(journal);
    if (event.kind !== 'progress') return;
    const blocks = journal?.filled.reduce((sum, image) => sum + image.blocks, 0) ?? 0;
    if (event.doneBytes > 0 && blocks === 0) this.broken.push('reported progress before the journal has any of it');
  }
}
