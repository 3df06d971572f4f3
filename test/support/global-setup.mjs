import { register } from 'tsx/esm/api';

// Jest loads this file itself, without its transform.
register();
const { setUp } = await import('./provider.ts');

export default setUp;
