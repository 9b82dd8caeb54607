/** What the lab shows of a first boot, on the userspace that has systemd and its gates. */
import type { Scenario } from '../scenario.ts';
import { BLOCKED_TRIAL, REPAIR } from './repair-scenario.ts';
import { STRANGERS } from './strangers-scenario.ts';

export const FIRST_BOOT_SCENARIOS: readonly Scenario[] = [STRANGERS, BLOCKED_TRIAL, REPAIR];
