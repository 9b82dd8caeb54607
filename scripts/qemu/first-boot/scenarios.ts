/** What the lab shows of a first boot, on the userspace that has systemd and its gates. */
import type { Scenario } from '../scenario.ts';
import { LIFE } from './life-scenario.ts';
import { STRANGERS } from './strangers-scenario.ts';

export const FIRST_BOOT_SCENARIOS: readonly Scenario[] = [STRANGERS, LIFE];
