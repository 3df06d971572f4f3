/**
 * Loaded before the program of every child process of the bench (`--import`): ends the process when the bench is gone,
 * however it ended, so that no server is left running.
 */
process.once('disconnect', () => process.exit(1));
process.channel?.unref(); // or it would keep a server alive that has stopped
