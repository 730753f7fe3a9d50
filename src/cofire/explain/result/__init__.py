"""What an explanation is: neurons and maps, their regions, and the file that holds them."""
