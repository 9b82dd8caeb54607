/** node-forge's ASN.1 module by itself: the rest of forge knows no EC keys, and is not shipped. */
declare module 'node-forge/lib/asn1.js' {
  import { asn1 } from 'node-forge';
  export default asn1;
}
