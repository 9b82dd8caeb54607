/**
 * The user names and passwords that devices are attacked with in their first minutes: what no device of ours may accept.
 * The agent tries them before it opens; the tools look for them in images.
 *
 * Sources: the 62 entries of the table in Mirai's scanner (mirai/bot/scanner.c, published September 2016 by its author,
 * kept at github.com/jgamblin/Mirai-Source-Code; two stand in it twice, so 60 pairs), by user, and behind them the
 * documented defaults of the Linux images that devices of this class are built from, each named.
 */

export interface FactoryPair {
  readonly user: string;
  /** May be empty. */
  readonly password: string;
}

/** One line a user: the name, then the passwords that go with it; `(none)` is the empty one. */
const MIRAI = `
root xc3511 vizxv admin 888888 xmhdipc default juantech 123456 54321 (none) root 12345 pass 1111 666666 password 1234
root klv123 klv1234 Zte521 hi3518 jvbzd anko zlxx. 7ujMko0vizxv 7ujMko0admin system ikwb dreambox user realtek 00000000
admin admin password (none) admin1234 smcadmin 1111 1111111 1234 12345 54321 123456 7ujMko0admin pass meinsm
support support
user user
Administrator admin
service service
supervisor supervisor
guest guest 12345
admin1 password
administrator 1234
666666 666666
888888 888888
ubnt ubnt
tech tech
mother fucker
`;

/**
 * pi/raspberry: Raspberry Pi OS before April 2022; debian: BeagleBoard.org; alarm: Arch Linux ARM; root/fa and pi/pi:
 * FriendlyELEC; root/odroid: Hardkernel; rock: Radxa; nvidia: Jetson; ubuntu: Ubuntu Server for ARM boards; root/toor: Kali
 * before 2020; root/0penBmc: OpenBMC; root/alpine: iOS, and images that took it over; the others bear their image's name.
 */
const LINUX_IMAGES = `
pi raspberry pi
debian temppwd
alarm alarm
orangepi orangepi
rock rock
khadas khadas
linaro linaro
nvidia nvidia
ubuntu ubuntu
dietpi dietpi
vagrant vagrant
root orangepi odroid fa dietpi toor 0penBmc alpine vagrant
`;

export const FACTORY_PAIRS: readonly FactoryPair[] = [...pairsOf(MIRAI), ...pairsOf(LINUX_IMAGES)];

function pairsOf(lines: string): FactoryPair[] {
  return lines
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [user = '', ...passwords] = line.split(' ');
      return passwords.map((password) => ({ user, password: password === '(none)' ? '' : password }));
    });
}
