// knex looks for this name first. Node 20 cannot load TypeScript by itself, so this loads knexfile.ts, which is the
// configuration, through tsx.
import { register } from 'tsx/esm/api';

register();
const { default: environments } = await import('./knexfile.ts');
export default environments;
