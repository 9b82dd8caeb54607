/**
 * Everything that this device knows durably of its updates: journal, counters, slots, quarantine. Loads them at start,
 * puts something safe in the place of what is lost, and says so.
 *
 * What is lost, and what stands instead:
 *   journal      boot recovery decides (`journalDamaged`)
 *   counters     both numbers become the newest release known to be confirmed: never lower than what runs
 *   slots        the booted slot counts as unknown and the device is held, unless it never updated
 *   quarantine   empty; what failed may be tried once more
 * Damage never throws: a device that cannot start its agent cannot be repaired from afar.
 */
import type { BootFacts, EnginePorts, EngineSettings, Slot } from '../core/ports.ts';
import { EMPTY_QUARANTINE, type Quarantine } from '../core/quarantine.ts';
import { countersRecord, type DeviceCounters, raised, type SlotContents, slotsRecord } from './counters.ts';
import { FIRST_JOURNAL, type InstallJournal, journalRecord } from './journal.ts';
import { quarantineRecord } from './quarantine-store.ts';
import type { RecordReading, StateRecord } from './state-record.ts';

/** Something that was found damaged, for a notice: it names the file and the cure. */
export interface Finding {
  readonly code: string;
  readonly detail: string;
}

interface Records {
  readonly journal: StateRecord<InstallJournal>;
  readonly counters: StateRecord<DeviceCounters>;
  readonly slots: StateRecord<SlotContents>;
  readonly quarantine: StateRecord<Quarantine>;
}

export function otherSlot(slot: Slot): Slot {
  return slot === 'a' ? 'b' : 'a';
}

export class DeviceState {
  readonly findings: Finding[] = [];
  readonly journalDamaged: boolean;
  /** No whole journal is on disk: the next change is written, whatever it changes. */
  #journalMissing: boolean;
  readonly #records: Records;
  #journal: InstallJournal;
  #counters: DeviceCounters;
  #slots: SlotContents;
  #quarantine: Quarantine;

  static async open(
    ports: Pick<EnginePorts, 'disk'>,
    settings: Pick<EngineSettings, 'stateDirectory' | 'factoryInstalled'>,
    booted: BootFacts & { readonly onTrial: boolean },
  ): Promise<DeviceState> {
    const { stateDirectory } = settings;
    const records = {
      journal: journalRecord(ports.disk, stateDirectory),
      counters: countersRecord(ports.disk, stateDirectory),
      slots: slotsRecord(ports.disk, stateDirectory),
      quarantine: quarantineRecord(ports.disk, stateDirectory),
    };
    const state = new DeviceState(records, {
      journal: await records.journal.read(),
      counters: await records.counters.read(),
      slots: await records.slots.read(),
      quarantine: await records.quarantine.read(),
      factory: settings.factoryInstalled,
      booted,
    });
    await state.#writeWhatWasMissing();
    return state;
  }

  private constructor(
    records: Records,
    found: {
      journal: RecordReading<InstallJournal>;
      counters: RecordReading<DeviceCounters>;
      slots: RecordReading<SlotContents>;
      quarantine: RecordReading<Quarantine>;
      factory: EngineSettings['factoryInstalled'];
      booted: BootFacts & { readonly onTrial: boolean };
    },
  ) {
    this.#records = records;
    this.journalDamaged = found.journal.found === 'damaged';
    this.#journalMissing = found.journal.found !== 'whole';
    this.#journal = this.#valueOf('journal', found.journal, FIRST_JOURNAL);
    this.#quarantine = this.#valueOf('quarantine', found.quarantine, EMPTY_QUARANTINE);
    const nothing = found.counters.found === 'absent' && found.slots.found === 'absent';
    const slots = nothing || found.slots.found === 'whole' ? undefined : unknownSlots(found);
    this.#slots = this.#valueOf('slots', found.slots, slots ?? contents(found.booted.slot, found.factory));
    this.#counters = this.#valueOf(
      'counters',
      found.counters,
      nothing ? firstCounters(found.factory) : this.#guess(found),
    );
  }

  get journal(): InstallJournal {
    return this.#journal;
  }
  get counters(): DeviceCounters {
    return this.#counters;
  }
  get slots(): SlotContents {
    return this.#slots;
  }
  get quarantine(): Quarantine {
    return this.#quarantine;
  }

  /** One write; nothing when nothing changes. */
  async journalTo(change: Partial<InstallJournal>): Promise<void> {
    const changed = { ...this.#journal, ...change };
    if (!this.#journalMissing && JSON.stringify(changed) === JSON.stringify(this.#journal)) return;
    await this.#records.journal.write(changed);
    this.#journal = changed;
    this.#journalMissing = false;
  }

  /** Never lowers either number. */
  async raiseCounters(to: DeviceCounters): Promise<void> {
    const counters = raised(this.#counters, to);
    await this.#records.counters.write(counters);
    this.#counters = counters;
  }

  async recordSlot(slot: Slot, holds: SlotContents[Slot]): Promise<void> {
    const slots = { ...this.#slots, [slot]: holds };
    if (JSON.stringify(slots) === JSON.stringify(this.#slots)) return;
    await this.#records.slots.write(slots);
    this.#slots = slots;
  }

  async replaceQuarantine(quarantine: Quarantine): Promise<void> {
    if (JSON.stringify(quarantine) === JSON.stringify(this.#quarantine)) return;
    await this.#records.quarantine.write(quarantine);
    this.#quarantine = quarantine;
  }

  #valueOf<T>(name: keyof Records, reading: RecordReading<T>, instead: T): T {
    if (reading.found === 'whole') return reading.value;
    if (reading.found === 'damaged') {
      const cure = 'It was replaced by safe values; check this card, and replace it if this comes again.';
      this.findings.push({ code: `${name}-damaged`, detail: `${reading.detail}. ${cure}` });
    }
    return instead;
  }

  /** Lost counters: what is known to be confirmed binds, as sequence and as floor; a release on trial does not. */
  #guess(found: { booted: BootFacts & { readonly onTrial: boolean }; factory: { sequence: number } }): DeviceCounters {
    const { slot, onTrial } = found.booted;
    const known = this.#slots[onTrial ? otherSlot(slot) : slot]?.sequence ?? found.factory.sequence;
    const sequence = Math.max(known, found.factory.sequence);
    return { installedSequence: sequence, floorSequence: sequence, timeFloorUnixS: 0 };
  }

  /** Counters first: slots without counters would look like counters lost. */
  async #writeWhatWasMissing(): Promise<void> {
    if ((await this.#records.counters.read()).found !== 'whole') await this.#records.counters.write(this.#counters);
    if ((await this.#records.slots.read()).found !== 'whole') await this.#records.slots.write(this.#slots);
    if ((await this.#records.quarantine.read()).found === 'damaged')
      await this.#records.quarantine.write(this.#quarantine);
  }
}

function contents(slot: Slot, holds: SlotContents[Slot]): SlotContents {
  return slot === 'a' ? { a: holds, b: null } : { a: null, b: holds };
}

function firstCounters(factory: { readonly sequence: number }): DeviceCounters {
  return { installedSequence: factory.sequence, floorSequence: 0, timeFloorUnixS: 0 };
}

/** A device whose counters still stand at the factory's number never updated: then what runs is known. */
function unknownSlots(found: {
  counters: RecordReading<DeviceCounters>;
  factory: EngineSettings['factoryInstalled'];
  booted: BootFacts & { readonly onTrial: boolean };
}): SlotContents {
  const untouched =
    found.counters.found === 'whole' && found.counters.value.installedSequence === found.factory.sequence;
  return contents(found.booted.slot, untouched && !found.booted.onTrial ? found.factory : null);
}
