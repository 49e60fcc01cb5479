"""Apache Curator as a peer of the recipes: a Java program that takes orders."""
