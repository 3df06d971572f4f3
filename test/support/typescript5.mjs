import { register } from 'node:module';

/**
 * For `node --import`: openapi-typescript writes types with the compiler as a library, which TypeScript 7 is not. So it is
 * given version 5, which it asks for, and the project keeps its own.
 */
const hooks = `
  export const resolve = (name, context, next) => next(name === 'typescript' ? 'typescript5' : name, context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
