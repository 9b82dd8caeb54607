/**
 * The closed list: why a device is not on its target. Every device that is not prints exactly one of these, since when,
 * what comes next, and the cure. The server decides it (update-server/core/explain.ts) from what the device reported.
 */
export const REASONS = {
  'on-target': {
    meaning: 'The device runs, confirmed, the newest release that a rollout gave it.',
    next: 'Nothing; it keeps polling.',
    cure: 'None needed.',
  },
  'no-rollout': {
    meaning: 'No rollout names this device for any release newer than the one it runs.',
    next: 'Nothing until somebody starts a rollout.',
    cure: 'Start one: holdfast rollout start RELEASE.',
  },
  'no-slots': {
    meaning:
      'The device has no A/B slots (board none): it has credentials, an inventory and reports, but no updates and no way back.',
    next: 'Nothing from any rollout; it counts in none.',
    cure: 'Bring its next image by hand, with two slots and a board adapter (docs/BOARDS.md).',
  },
  'not-enrolled': {
    meaning: 'A claim was made for this device, and it has not enrolled yet.',
    next: 'It enrols at its first contact.',
    cure: 'Power it, check its network, and that its claim has not expired.',
  },
  revoked: {
    meaning: 'The certificate of this device was revoked.',
    next: 'Nothing; it is refused at every contact.',
    cure: 'Make a new claim for it if it is trusted again.',
  },
  'other-class': {
    meaning: "The rollout's release is for another hardware class.",
    next: 'Nothing from this rollout.',
    cure: 'Build a release for its class.',
  },
  'other-channel': {
    meaning: 'The device follows another channel than the release.',
    next: 'Nothing from this rollout.',
    cure: 'Publish the release on its channel, or move the device.',
  },
  'waiting-for-wave': {
    meaning: "The device's place lies in a later wave.",
    next: 'It is offered the release when its wave opens.',
    cure: 'Wait; the wave opens when the gate before it passes.',
  },
  'rollout-paused': {
    meaning: 'A person paused the rollout.',
    next: 'It goes on when a person resumes it.',
    cure: 'holdfast rollout resume ID.',
  },
  'rollout-halted': {
    meaning: 'The rollout halted itself because devices failed.',
    next: 'Nothing until a person has looked.',
    cure: 'Read the reason (holdfast rollout show ID); mend the release, or resume.',
  },
  'not-seen': {
    meaning: 'The device has not polled since the release was offered to it.',
    next: 'It is offered the release at its next poll.',
    cure: 'Check its power and network.',
  },
  installing: {
    meaning: 'The device is fetching, checking or writing the release.',
    next: 'It stages the release, then reboots.',
    cure: 'Wait; a cut connection resumes where it broke.',
  },
  'waiting-for-reboot': {
    meaning: 'The release is written and verified; the reboot is owed.',
    next: 'It reboots into a trial.',
    cure: 'Wait, or reboot the device.',
  },
  'in-use': {
    meaning: 'The application on the device says that it is in use.',
    next: 'The device goes on by itself when that ends, or when its limit of waiting is reached.',
    cure: 'Wait, or end the use; hooks.inUse of agent.json has the limit.',
  },
  'link-metered': {
    meaning: 'The device is on a metered link, and its configuration gives images no budget there.',
    next: 'It fetches the release once it has another link.',
    cure: 'Connect it to a link that is not metered, or give network.budget in its agent.json.',
  },
  'budget-spent': {
    meaning: 'The device is on a metered link and has used up what images may take there in this period.',
    next: 'It goes on in the next period, or on a link that is not metered.',
    cure: 'Wait, connect it to another link, or raise network.budget in its agent.json.',
  },
  'on-trial': {
    meaning: 'The device runs the release on trial; its checks have not finished.',
    next: 'It confirms, or goes back.',
    cure: 'Wait for its health checks.',
  },
  'silent-after-reboot': {
    meaning: 'The device went into its trial and has not been heard since; the deadline passed.',
    next: 'It counts as failed. It goes back by itself if it still can.',
    cure: 'Look at the device; read its console.',
  },
  'rolled-back': {
    meaning: 'The release failed its checks on this device, and the device went back.',
    next: 'It will not take this release again.',
    cure: 'Read the reason in its history; mend the release and publish the next.',
  },
  'release-refused': {
    meaning: 'The device refused the release: a signature, digest, sequence or policy did not hold.',
    next: 'It refuses it again until what it is given changes.',
    cure: 'Look the code up in docs/FORMATS.md, section Refusals.',
  },
  'install-failed': {
    meaning: 'Fetching or writing failed for a reason that is not the release.',
    next: 'It tries again, with growing pauses.',
    cure: 'Read the code in its history: disk, network or time.',
  },
  'deadline-passed': {
    meaning: 'The device did not finish before the deadline of its action.',
    next: 'Its place was given free; it counts as failed.',
    cure: 'Start another rollout for it once it is reachable.',
  },
  held: {
    meaning: 'The device booted below its floor, or in a way no rule knows; it takes updates only.',
    next: 'It stays held until a release at or above its floor is installed.',
    cure: 'Roll out a release at or above its floor.',
  },
  'factory-credentials': {
    meaning: 'The device has not proven that its factory secrets were replaced, and the server enforces that it does.',
    next: 'It is offered rollouts of purpose repair or security only, and the others once it has proven it.',
    cure: 'Read what speaks against it (holdfast credentials list DEVICE); an agent too old to prove it needs a repair release, or a server with --credentials-gate report.',
  },
  'rotation-owed': {
    meaning: 'The device was asked to rotate its credentials, and has not proven yet that it did.',
    next: 'It rotates, states it, and is offered the release then; repairs come before.',
    cure: 'Wait; holdfast credentials status shows how far the rotation is.',
  },
  'awaiting-approval': {
    meaning: 'The device shows other hardware than before: its card was moved, or copied.',
    next: 'It gets metadata and nothing else until a person has decided.',
    cure: 'If you moved the card: holdfast devices approve DEVICE. If not: holdfast devices revoke DEVICE.',
  },
} as const satisfies Record<string, { meaning: string; next: string; cure: string }>;

export type Reason = keyof typeof REASONS;
export const REASON_CODES = Object.keys(REASONS) as Reason[];

/** The closed list: what speaks against a device's statement of its credentials (update-server/core/credentials.ts). */
export const FLAGS = {
  'epoch-went-back': {
    meaning: 'The statement is of an earlier epoch than one that this device has stated before.',
    cure: 'An old copy of its data partition runs. If it is the only one: holdfast credentials rotate DEVICE.',
  },
  'state-went-back': {
    meaning: 'The first boot is less far in an epoch that this device has stated as open.',
    cure: 'An old copy of its data partition runs. If it is the only one: holdfast credentials rotate DEVICE.',
  },
  'credentials-changed': {
    meaning: 'A credential has another fingerprint than the same epoch had before.',
    cure: 'Two devices speak under one name, or its data partition was written to. Rotate it, and look for its twin.',
  },
  'fingerprint-shared': {
    meaning: 'Another device has a credential with the same public part: one of the two is a copy.',
    cure: 'Rotate both (holdfast credentials rotate DEVICE), and mend the image that was captured after first boot.',
  },
  'hardware-on-two-devices': {
    meaning: 'Another device that is enrolled with another key says that it is the same board.',
    cure: 'A reflashed board: revoke the former id. Otherwise one of the two says what is not so.',
  },
  'hardware-moved': {
    meaning: 'The device key, or its data partition, is on another board than before.',
    cure: 'If you moved the card: holdfast devices approve DEVICE. If not: revoke it.',
  },
  'reports-went-back': {
    meaning:
      'It used a number again that another of its reports has: its data partition is an old copy, or a second one runs.',
    cure: 'If you put a backup back and it is the only one: holdfast devices approve DEVICE. If not: revoke it, and give each board a claim of its own.',
  },
  'two-boots-at-once': {
    meaning: 'Reports come by turns from two boots: two boards run with one device key.',
    cure: 'Revoke it (holdfast devices revoke DEVICE), and give each board a claim of its own. Once the copies are gone: holdfast devices approve DEVICE.',
  },
  'escrow-differs': {
    meaning: 'The sealed blob that the device states, or brought, is not the one that the server keeps for this epoch.',
    cure: 'Rotate it: a new epoch gets a new blob. Keep the old one: it may be the only way in.',
  },
} as const satisfies Record<string, { meaning: string; cure: string }>;

export type Flag = keyof typeof FLAGS;
export const FLAG_CODES = Object.keys(FLAGS) as Flag[];
