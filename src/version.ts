/** The program's version, as package.json has it. The ledger of migrations names by it who applied a step. */
export const build = '0.1.0';
