// Prints what this process may do, and what it sees of the environment.
const kinds = ["read", "write", "net", "run", "env", "ffi", "sys"] as const;
const granted = kinds.filter((name) => Deno.permissions.querySync({ name }).state === "granted");
const scoped = (descriptor: Deno.PermissionDescriptor) => Deno.permissions.querySync(descriptor).state;
console.log(JSON.stringify({
  granted,
  outside: scoped({ name: "write", path: "/" }),
  network: scoped({ name: "net", host: "127.0.0.1:80" }),
  elsewhere: scoped({ name: "net", host: "192.0.2.1:80" }),
  commands: scoped({ name: "run", command: "sh" }),
  environment: Object.keys(Deno.env.toObject()),
}));
