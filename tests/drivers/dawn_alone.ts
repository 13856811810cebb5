import { useDawn } from "./dawn.ts";

await useDawn(["backend=null"]);
