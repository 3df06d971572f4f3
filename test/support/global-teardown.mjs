import { register } from 'tsx/esm/api';

register();
const { tearDown } = await import('./provider.ts');

export default tearDown;
