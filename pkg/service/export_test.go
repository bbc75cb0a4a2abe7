package service

// Process is what [Main] does, with its exit code.
var Process = run
