"""What `import jaxal` offers: measures on plain arrays, and a pass over images in memory."""
